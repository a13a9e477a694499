-- Keeps the event triggers away from a table while init puts it right, in the same transaction.
update {{schema}}.tables set broken = 'tripline init is at work' where relation in ({{relations}});
