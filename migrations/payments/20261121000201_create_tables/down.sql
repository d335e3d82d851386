drop table if exists payments.payments;
drop table if exists payments.accounts;
drop schema if exists payments;
