-- The head of a lane, and what waits behind it.
create index if not exists parked_records_lane_idx
  on longshore.parked_records ("group", topic, partition, lane_key, "offset") where state <> 'dead';
