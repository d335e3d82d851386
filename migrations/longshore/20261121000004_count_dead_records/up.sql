-- What the dead-letter budget is reckoned from.
alter table longshore.offsets
  -- Records that died here, at their first settlement or after their last attempt.
  add column if not exists dead_records bigint not null default 0;
alter table longshore.pipelines
  -- Since when the dead count: the last time that a person let the pipeline go on.
  add column if not exists renewed_at timestamptz;

-- How many records a pipeline had settled at some moments, and how many of them were dead, over all
-- partitions and instances. Few rows: those of the last minute, and some sixty of the window.
create table if not exists longshore.budget_samples (
  pipeline text not null,
  "group" text not null,
  topics text[] not null,
  at timestamptz not null default clock_timestamp(),
  settled_records bigint not null,
  dead_records bigint not null,
  primary key (pipeline, "group", topics, at)
);
