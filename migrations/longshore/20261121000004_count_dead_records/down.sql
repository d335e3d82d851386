drop table if exists longshore.budget_samples;
alter table longshore.pipelines drop column if exists renewed_at;
alter table longshore.offsets drop column if exists dead_records;
