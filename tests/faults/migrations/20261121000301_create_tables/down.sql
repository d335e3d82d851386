drop schema if exists faults cascade;
