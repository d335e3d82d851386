drop index if exists longshore.parked_records_to_relay_idx;
drop index if exists longshore.outbox_published_idx;
drop index if exists longshore.outbox_to_publish_idx;
create index if not exists outbox_unpublished_idx
  on longshore.outbox ("group", source_topic, source_partition, id) where published_at is null;
alter table longshore.parked_records drop column if exists relay_error;
alter table longshore.outbox
  drop column if exists failed_at,
  drop column if exists error;
