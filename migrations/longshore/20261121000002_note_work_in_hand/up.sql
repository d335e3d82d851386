-- What an owner notes before it works, so that its death with records in hand can be told from a
-- clean end, and a record that kills the process from a process that is killed.
alter table longshore.offsets
  -- Records are in hand. The next owner that finds it set takes its predecessor for dead.
  add column if not exists at_work boolean not null default false,
  -- Such deaths in a row, without a save in between.
  add column if not exists deaths int not null default 0,
  -- The one record that is being tried by itself, and how many starts in a row found it named.
  add column if not exists suspect bigint,
  add column if not exists suspect_starts int not null default 0;
