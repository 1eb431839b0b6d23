-- The tables of the daemon that was here before this one, for programs that read them by SQL. Where
-- that daemon was, they are there already, are left as they are, and have the columns that they have
-- (src/store/old.rs). Written, never read: docs/adr/0021. Moments are text on SQLite,
-- 2026-11-20 22:30:00.123 in UTC, which is also what MariaDB takes for a DATETIME.
--
-- Indexes stand here as constraints that hold anyway: an index on its own would be made on the tables
-- of others, too, and a plain one within CREATE TABLE is not in the subset.
--
-- Free text that others wrote is in volume_operations.request, response and error.
CREATE TABLE IF NOT EXISTS volume_operations (
    id           VARCHAR(64) NOT NULL,
    type         VARCHAR(32) NOT NULL,
    status       VARCHAR(32) NOT NULL,
    volume_id    VARCHAR(64) NOT NULL,
    vm_id        VARCHAR(64),
    request      MEDIUMTEXT  NOT NULL,
    response     MEDIUMTEXT,
    error        MEDIUMTEXT,
    created_at   DATETIME(3) NOT NULL,
    updated_at   DATETIME(3) NOT NULL,
    completed_at DATETIME(3),
    PRIMARY KEY (id),
    UNIQUE (volume_id, created_at, id),
    UNIQUE (status, created_at, id),
    UNIQUE (created_at, id)
) /*M! ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin */;

-- volume_id and volume_uuid are the same: readers know one or the other.
CREATE TABLE IF NOT EXISTS device_mappings (
    id                          VARCHAR(64)  NOT NULL,
    volume_id                   VARCHAR(64)  NOT NULL,
    volume_uuid                 VARCHAR(64)  NOT NULL,
    vm_id                       VARCHAR(64)  NOT NULL,
    device_path                 VARCHAR(255) NOT NULL,
    cloudstack_state            VARCHAR(32)  NOT NULL,
    linux_state                 VARCHAR(32)  NOT NULL,
    size                        BIGINT       NOT NULL,
    last_sync                   DATETIME(3)  NOT NULL,
    created_at                  DATETIME(3)  NOT NULL,
    updated_at                  DATETIME(3)  NOT NULL,
    vm_context_id               VARCHAR(64),
    volume_id_numeric           BIGINT,
    operation_mode              VARCHAR(32)  NOT NULL,
    cloudstack_device_id        BIGINT,
    requires_device_correlation SMALLINT     NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (volume_id),
    UNIQUE (volume_uuid),
    UNIQUE (device_path)
) /*M! ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin */;

CREATE TABLE IF NOT EXISTS nbd_exports (
    id                  VARCHAR(64)  NOT NULL,
    job_id              VARCHAR(64),
    vm_context_id       VARCHAR(64),
    volume_id           VARCHAR(64)  NOT NULL,
    vm_disk_id          BIGINT,
    device_mapping_uuid VARCHAR(64),
    export_name         VARCHAR(255) NOT NULL,
    port                BIGINT       NOT NULL,
    device_path         VARCHAR(255) NOT NULL,
    config_path         VARCHAR(255) NOT NULL,
    status              VARCHAR(32)  NOT NULL,
    created_at          DATETIME(3)  NOT NULL,
    updated_at          DATETIME(3)  NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (export_name),
    UNIQUE (volume_id, export_name)
) /*M! ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin */;

-- Which rows of device_mappings and nbd_exports an appliance wrote, and may delete: they have no
-- column that says whose they are. claim is the device path, or the export name.
CREATE TABLE IF NOT EXISTS vd_old_rows (
    appliance VARCHAR(63)  NOT NULL,
    old_table VARCHAR(32)  NOT NULL,
    volume_id VARCHAR(36)  NOT NULL,
    claim     VARCHAR(255) NOT NULL,
    PRIMARY KEY (appliance, old_table, volume_id)
) /*M! ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin */;

-- Whether volume_operations tells of a call as it is: 1; 0 if it is none that the old daemon knew of.
-- NULL: its row is still to be written.
ALTER TABLE vd_intents ADD COLUMN /*M! IF NOT EXISTS */ operation SMALLINT;
CREATE INDEX IF NOT EXISTS vd_intents_operation ON vd_intents (appliance, operation, id);

-- What is asked of a journal of 100,000 calls: the open ones, the old ones, those of a volume, the latest; and
-- of what differed. Each is in the order in which it is listed: SQLite prefers that to one with fewer rows.
CREATE INDEX IF NOT EXISTS vd_intents_settled ON vd_intents (appliance, settled_at, created_at, id);
CREATE INDEX IF NOT EXISTS vd_intents_name ON vd_intents (appliance, name, created_at, id);
CREATE INDEX IF NOT EXISTS vd_intents_created ON vd_intents (appliance, created_at, id);
CREATE INDEX IF NOT EXISTS vd_drift_first_seen ON vd_drift (appliance, first_seen, episode);
CREATE INDEX IF NOT EXISTS vd_drift_of ON vd_drift (appliance, name, first_seen, episode);
DROP INDEX IF EXISTS vd_drift_name /*M! ON vd_drift */;
DROP INDEX IF EXISTS vd_intents_settled_at /*M! ON vd_intents */;
DROP INDEX IF EXISTS vd_intents_created_at /*M! ON vd_intents */;
