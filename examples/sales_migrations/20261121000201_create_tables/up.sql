create table if not exists shops (id bigint primary key, name text not null);
create table if not exists sales (
  id uuid primary key, shop text not null, cents bigint not null check (cents <> 0)
);
