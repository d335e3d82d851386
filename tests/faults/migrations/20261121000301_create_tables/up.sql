create schema if not exists faults;

-- No key and no unique index: a record that is saved twice is seen twice. `id` tells the order of saving.
create table if not exists faults.appended (
  id bigint generated always as identity,
  topic text not null,
  partition int not null,
  "offset" bigint not null,
  key text not null,
  sequence bigint not null,
  -- Which process worked it, and how many it had worked before: the order of saving is made good by
  -- sorting, the order of working is not.
  process bigint not null default 0,
  worked bigint not null default 0
);

-- What a consumer that adds up would have: a doubled record counts twice.
create table if not exists faults.counters (
  key text primary key,
  records bigint not null,
  last_sequence bigint not null
);

create or replace function faults.count_appended() returns trigger language plpgsql as $$
begin
  insert into faults.counters as c (key, records, last_sequence)
    select key, count(*), max(sequence) from appended group by key order by key
    on conflict (key) do update
      set records = c.records + excluded.records, last_sequence = excluded.last_sequence;
  return null;
end $$;

create or replace trigger count_appended after insert on faults.appended
  referencing new table as appended
  for each statement execute function faults.count_appended();
