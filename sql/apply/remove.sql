-- Takes away what the applier keeps for itself, once nobody else uses it. What others put into the schema stands in the way.
drop table tripline.positions;
drop table tripline.cuts;
drop table tripline.sweeps;
drop table tripline.tables;
drop schema tripline
