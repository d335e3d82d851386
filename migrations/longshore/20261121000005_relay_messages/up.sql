-- What can never be sent is a state: it does not hold up what comes behind it.
alter table longshore.outbox
  add column if not exists failed_at timestamptz,
  add column if not exists error text;
alter table longshore.parked_records
  add column if not exists relay_error text;
-- What is to be published of a partition, in order. The first index had what can never be sent.
create index if not exists outbox_to_publish_idx
  on longshore.outbox ("group", source_topic, source_partition, id)
  where published_at is null and failed_at is null;
drop index if exists longshore.outbox_unpublished_idx;
create index if not exists outbox_published_idx
  on longshore.outbox ("group", published_at) where published_at is not null;
create index if not exists parked_records_to_relay_idx
  on longshore.parked_records ("group", topic, partition, "offset")
  where state = 'dead' and relayed_at is null and relay_error is null;
