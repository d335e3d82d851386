drop table sales;
drop table shops;
