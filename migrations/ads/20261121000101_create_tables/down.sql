drop table if exists ads.enriched_events;
drop table if exists ads.campaigns;
drop table if exists ads.advertisers;
