alter table {{log}} alter column {{column}} type {{base}} using {{column}}::{{base}};
