alter table longshore.offsets
  drop column if exists at_work,
  drop column if exists deaths,
  drop column if exists suspect,
  drop column if exists suspect_starts;
