-- How each volume stood and what was to be done for it, whenever that changed, for people: a
-- VolumeStatus without what only passes. status is NULL once its spec was gone for good. Free text
-- that others wrote is in status.
CREATE TABLE IF NOT EXISTS vd_plans (
    appliance  VARCHAR(63) NOT NULL,
    name       VARCHAR(63) NOT NULL,
    decided_at BIGINT      NOT NULL,
    digest     VARCHAR(40) NOT NULL,
    status     MEDIUMTEXT,
    PRIMARY KEY (appliance, name, decided_at)
) /*M! ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin */;
