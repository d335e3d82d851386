create schema if not exists landing;

create table if not exists landing.records (
  topic text not null,
  partition int not null,
  "offset" bigint not null,
  recorded_at timestamptz,
  key text,
  value text,
  primary key (topic, partition, "offset")
);
