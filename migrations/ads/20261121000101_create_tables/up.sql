create schema if not exists ads;

create table if not exists ads.advertisers (
  id bigint primary key,
  name text not null,
  status text not null check (status in ('active', 'paused')),
  currency char(3) not null
);

create table if not exists ads.campaigns (
  id bigint primary key,
  advertiser_id bigint not null references ads.advertisers,
  name text not null,
  status text not null check (status in ('active', 'paused'))
);

create table if not exists ads.enriched_events (
  event_id uuid primary key,
  kind text not null check (kind in ('click', 'impression')),
  occurred_at timestamptz not null,
  advertiser_id bigint not null,
  advertiser_name text not null,
  campaign_id bigint not null,
  campaign_name text not null,
  user_id text not null,
  placement text,
  cost_micros bigint not null check (cost_micros >= 0),
  currency char(3) not null,
  billable boolean not null
);
