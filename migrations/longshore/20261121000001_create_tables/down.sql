drop table if exists longshore.audit;
drop table if exists longshore.outbox;
drop table if exists longshore.pipelines;
drop table if exists longshore.parked_records;
drop table if exists longshore.offsets;
