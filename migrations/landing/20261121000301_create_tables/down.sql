drop table if exists landing.records;
