drop index if exists longshore.parked_records_lane_idx;
