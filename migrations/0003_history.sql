-- From when to when something differed from what is asked for while nobody worked on it, for people.
-- episode is the name, the field and first_seen: writing it again changes nothing. The columns from
-- last_seen on are NULL while it differs; intent is the call of ours that ended it, if one did.
-- Free text that others wrote is in desired and observed.
CREATE TABLE IF NOT EXISTS vd_drift (
    appliance  VARCHAR(63)  NOT NULL,
    episode    VARCHAR(255) NOT NULL,
    name       VARCHAR(63)  NOT NULL,
    generation BIGINT       NOT NULL,
    class      VARCHAR(16)  NOT NULL,
    field      VARCHAR(128) NOT NULL,
    desired    MEDIUMTEXT   NOT NULL,
    observed   MEDIUMTEXT   NOT NULL,
    first_seen BIGINT       NOT NULL,
    last_seen  BIGINT,
    ended_at   BIGINT,
    ending     VARCHAR(16),
    intent     VARCHAR(36),
    PRIMARY KEY (appliance, episode)
) /*M! ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin */;

-- ended_at finds what differs (NULL), what differed lately and what is old; name serves the history
-- of one volume.
CREATE INDEX IF NOT EXISTS vd_drift_ended_at ON vd_drift (appliance, ended_at);
CREATE INDEX IF NOT EXISTS vd_drift_name ON vd_drift (appliance, name, first_seen);

-- Who wrote each version. NULL: it was accepted before this was recorded.
ALTER TABLE vd_spec_versions ADD COLUMN /*M! IF NOT EXISTS */ owner VARCHAR(700);
