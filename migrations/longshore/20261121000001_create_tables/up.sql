create schema if not exists longshore;

-- One row a partition. Whoever changes it has it locked, and locks rows of several partitions in
-- the order of the primary key.
create table if not exists longshore.offsets (
  "group" text not null,
  cluster_id text,
  topic text not null,
  topic_id uuid,
  partition int not null check (partition >= 0),
  next_offset bigint not null check (next_offset >= 0),
  epoch bigint not null default 0,
  owner text,
  -- All records that this group ever settled in this partition, and those of them it parked: what
  -- the dead-letter budget is reckoned from.
  settled_records bigint not null default 0,
  parked_records bigint not null default 0,
  updated_at timestamptz not null default now(),
  primary key ("group", topic, partition)
);

-- Records that could not be saved: byte for byte as they came.
create table if not exists longshore.parked_records (
  id bigint generated always as identity primary key,
  pipeline text not null,
  "group" text not null,
  topic text not null,
  partition int not null,
  "offset" bigint not null,
  "timestamp" timestamptz,
  key bytea,
  value bytea,
  -- An array of {"name": .., "value": ..} in the order in which they came; "value" is null for a
  -- null, and "base64" stands in its place where the bytes are no text.
  headers jsonb not null default '[]',
  lane_key bytea,
  state text not null check (state in ('retrying', 'waiting', 'dead')),
  attempts int not null default 1,
  due_at timestamptz,
  relayed_at timestamptz,
  reason text not null,
  error text not null,
  parked_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  unique ("group", topic, partition, "offset")
);
create index if not exists parked_records_pipeline_state_idx
  on longshore.parked_records (pipeline, state, id);
create index if not exists parked_records_due_idx
  on longshore.parked_records ("group", due_at) where state = 'retrying';

create table if not exists longshore.pipelines (
  pipeline text primary key,
  state text not null default 'running' check (state in ('running', 'paused', 'stopped')),
  reason text,
  since timestamptz not null default now()
);

-- Messages to publish, written together with the rows they speak of.
create table if not exists longshore.outbox (
  id bigint generated always as identity primary key,
  pipeline text not null,
  "group" text not null,
  source_topic text not null,
  source_partition int not null,
  source_offset bigint not null,
  topic text not null,
  key bytea,
  value bytea,
  headers jsonb not null default '[]',
  created_at timestamptz not null default now(),
  published_at timestamptz
);
create index if not exists outbox_unpublished_idx
  on longshore.outbox ("group", source_topic, source_partition, id) where published_at is null;

-- Who did what with which command, when, on how many rows.
create table if not exists longshore.audit (
  id bigint generated always as identity primary key,
  at timestamptz not null default now(),
  who text not null,
  command text not null,
  num_rows bigint not null,
  details jsonb not null default '{}'
);
