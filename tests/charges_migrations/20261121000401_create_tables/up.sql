create table if not exists charges (id bigint primary key, account text not null);
