SELECT instructions FROM previous_orders WHERE ignore = 0 AND role = 'system' ORDER BY all_users;
