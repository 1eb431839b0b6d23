-- settled_at finds the few unsettled intents (NULL) and the old settled ones; created_at
-- serves the journal's listing and the guard's hour.
CREATE INDEX IF NOT EXISTS vd_intents_settled_at ON vd_intents (settled_at);
CREATE INDEX IF NOT EXISTS vd_intents_created_at ON vd_intents (created_at);
