-- The daemon's own tables, in the subset of SQL that SQLite and MariaDB share: ids and states as
-- VARCHAR, moments as BIGINT milliseconds since 1970 UTC, documents as JSON text. IF NOT EXISTS
-- throughout: MariaDB commits each statement by itself, so a migration that was cut short is run
-- again.
--
-- MariaDB reads what stands in /*M! */, SQLite takes it for a comment: names and paths differ by
-- case and by spaces at their end there, too, whatever the database's own collation is.
--
-- Daemons of many appliances may share a MariaDB database. Every row belongs to one of them.
--
-- No column holds a credential. Free text that others wrote is in vd_specs.manifest,
-- vd_spec_versions.manifest, vd_source_files.problems, vd_intents.outcome_text and vd_pauses.reason.

-- Whose store this is: one row for each appliance.
CREATE TABLE IF NOT EXISTS vd_instance (
    appliance   VARCHAR(63) NOT NULL,
    instance_id VARCHAR(36) NOT NULL,
    vm_id       VARCHAR(36),
    created_at  BIGINT      NOT NULL,
    PRIMARY KEY (appliance)
) /*M! ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin */;

-- Who may write: one row for each appliance. Each writable opening takes the next epoch; a writer
-- with an older one is refused. beats grows with every write: a holder whose beats stand still is
-- gone. lock_id names the boot and the lock file of the holder; both columns that name it are
-- empty once it has ended.
CREATE TABLE IF NOT EXISTS vd_lease (
    appliance VARCHAR(63)  NOT NULL,
    epoch     BIGINT       NOT NULL,
    holder    VARCHAR(255) NOT NULL,
    lock_id   VARCHAR(255) NOT NULL,
    beats     BIGINT       NOT NULL,
    taken_at  BIGINT       NOT NULL,
    used_at   BIGINT       NOT NULL,
    PRIMARY KEY (appliance)
) /*M! ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin */;

-- The accepted version of each spec. Never deleted: the uid of a name is for ever.
CREATE TABLE IF NOT EXISTS vd_specs (
    appliance   VARCHAR(63)  NOT NULL,
    name        VARCHAR(63)  NOT NULL,
    uid         VARCHAR(36)  NOT NULL,
    generation  BIGINT       NOT NULL,
    owner       VARCHAR(700) NOT NULL,
    manifest    MEDIUMTEXT   NOT NULL,
    accepted_at BIGINT       NOT NULL,
    abandoned   BIGINT       NOT NULL,
    counted_ms  BIGINT       NOT NULL,
    PRIMARY KEY (appliance, name)
) /*M! ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin */;

-- The latest accepted versions of each spec, for people.
CREATE TABLE IF NOT EXISTS vd_spec_versions (
    appliance   VARCHAR(63) NOT NULL,
    name        VARCHAR(63) NOT NULL,
    generation  BIGINT      NOT NULL,
    manifest    MEDIUMTEXT  NOT NULL,
    accepted_at BIGINT      NOT NULL,
    PRIMARY KEY (appliance, name, generation)
) /*M! ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin */;

-- Spec files as they were last judged.
CREATE TABLE IF NOT EXISTS vd_source_files (
    appliance VARCHAR(63)  NOT NULL,
    path      VARCHAR(700) NOT NULL,
    hash      VARCHAR(40)  NOT NULL,
    device    BIGINT       NOT NULL,
    state     VARCHAR(32)  NOT NULL,
    problems  MEDIUMTEXT   NOT NULL,
    since     BIGINT       NOT NULL,
    PRIMARY KEY (appliance, path)
) /*M! ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin */;

-- Which volume a spec is about, for ever: one volume for each name, one name for each volume,
-- over all appliances.
CREATE TABLE IF NOT EXISTS vd_bindings (
    appliance VARCHAR(63) NOT NULL,
    name      VARCHAR(63) NOT NULL,
    volume_id VARCHAR(36) NOT NULL UNIQUE,
    uid       VARCHAR(36) NOT NULL,
    mark      VARCHAR(16) NOT NULL,
    bound_at  BIGINT      NOT NULL,
    PRIMARY KEY (appliance, name)
) /*M! ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin */;

-- On which VM this daemon last put a volume.
CREATE TABLE IF NOT EXISTS vd_placements (
    appliance VARCHAR(63) NOT NULL,
    volume_id VARCHAR(36) NOT NULL,
    vm_id     VARCHAR(36) NOT NULL,
    placed_at BIGINT      NOT NULL,
    PRIMARY KEY (appliance, volume_id)
) /*M! ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin */;

-- Which volume an export name belongs to, for ever.
CREATE TABLE IF NOT EXISTS vd_export_names (
    appliance   VARCHAR(63)  NOT NULL,
    export_name VARCHAR(255) NOT NULL,
    volume_id   VARCHAR(36)  NOT NULL,
    claimed_at  BIGINT       NOT NULL,
    PRIMARY KEY (appliance, export_name)
) /*M! ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin */;

-- One row for each mutating CloudStack call, written before the call. settled_at is
-- NULL until its end is known. open_volume is volume_id until then, and NULL afterwards: so two
-- daemons cannot both have a call open for one volume.
CREATE TABLE IF NOT EXISTS vd_intents (
    appliance      VARCHAR(63)  NOT NULL,
    id             VARCHAR(36)  NOT NULL,
    epoch          BIGINT       NOT NULL,
    name           VARCHAR(63)  NOT NULL,
    generation     BIGINT       NOT NULL,
    owner          VARCHAR(700) NOT NULL,
    volume_id      VARCHAR(36),
    open_volume    VARCHAR(36) UNIQUE,
    kind           VARCHAR(16)  NOT NULL,
    action         MEDIUMTEXT   NOT NULL,
    cause          VARCHAR(16)  NOT NULL,
    created_at     BIGINT       NOT NULL,
    expires_at     BIGINT       NOT NULL,
    job_id         VARCHAR(36),
    settled_at     BIGINT,
    outcome        VARCHAR(16),
    outcome_class  VARCHAR(16),
    outcome_text   MEDIUMTEXT,
    created_volume VARCHAR(36),
    PRIMARY KEY (appliance, id)
) /*M! ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin */;

-- What the names in a spec were found to mean.
CREATE TABLE IF NOT EXISTS vd_resolutions (
    appliance  VARCHAR(63) NOT NULL,
    name       VARCHAR(63) NOT NULL,
    resolution MEDIUMTEXT  NOT NULL,
    PRIMARY KEY (appliance, name)
) /*M! ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin */;

-- What CloudStack last said of a bound volume.
CREATE TABLE IF NOT EXISTS vd_views (
    appliance VARCHAR(63) NOT NULL,
    volume_id VARCHAR(36) NOT NULL,
    view      MEDIUMTEXT  NOT NULL,
    PRIMARY KEY (appliance, volume_id)
) /*M! ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin */;

-- What is to be left alone for a while; the name '*' stands for everything.
CREATE TABLE IF NOT EXISTS vd_pauses (
    appliance VARCHAR(63) NOT NULL,
    name      VARCHAR(63) NOT NULL,
    until_at  BIGINT      NOT NULL,
    reason    MEDIUMTEXT  NOT NULL,
    paused_at BIGINT      NOT NULL,
    PRIMARY KEY (appliance, name)
) /*M! ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin */;

-- Specs whose claims on volumes are left alone although vd_specs does not have them.
CREATE TABLE IF NOT EXISTS vd_disowned (
    appliance   VARCHAR(63) NOT NULL,
    uid         VARCHAR(36) NOT NULL,
    volume_id   VARCHAR(36) NOT NULL,
    disowned_at BIGINT      NOT NULL,
    PRIMARY KEY (appliance, uid)
) /*M! ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin */;

-- The account that was last seen to be the right one, as a digest: at most one row.
CREATE TABLE IF NOT EXISTS vd_account (
    appliance VARCHAR(63) NOT NULL,
    mark      VARCHAR(64) NOT NULL,
    proven_at BIGINT      NOT NULL,
    PRIMARY KEY (appliance)
) /*M! ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin */;

-- settled_at finds the few unsettled intents (NULL) and the old settled ones; created_at
-- serves the journal's listing and the guard's hour.
CREATE INDEX IF NOT EXISTS vd_intents_settled_at ON vd_intents (settled_at);
CREATE INDEX IF NOT EXISTS vd_intents_created_at ON vd_intents (created_at);
