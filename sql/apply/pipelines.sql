-- Which pipelines the destination knows something of.
select pipeline from tripline.positions
union select pipeline from tripline.cuts
union select pipeline from tripline.sweeps
union select pipeline from tripline.tables
