-- What other programs declare by SQL: one row for each volume, with the keys of a spec file as columns.
-- NULL is a key that is not written. Only their writers write it; see docs/sql.md.
CREATE TABLE IF NOT EXISTS desired_volumes (
    appliance           VARCHAR(63)  NOT NULL,
    name                VARCHAR(63)  NOT NULL,
    writer              VARCHAR(63)  NOT NULL,
    revision            BIGINT,
    size_gib            BIGINT,
    zone                VARCHAR(255),
    disk_offering       VARCHAR(255),
    volume_name         VARCHAR(255),
    existing_id         VARCHAR(36),
    existing_name       VARCHAR(255),
    vm                  VARCHAR(255),
    device_id           SMALLINT,
    move                VARCHAR(16),
    export              SMALLINT,
    export_name         VARCHAR(255),
    export_read_only    SMALLINT,
    drain_timeout       VARCHAR(16),
    mode                VARCHAR(16),
    suspend             SMALLINT,
    reclaim_policy      VARCHAR(16),
    deletion_protection SMALLINT,
    labels              MEDIUMTEXT,
    deleted_at          VARCHAR(40),
    PRIMARY KEY (appliance, name)
) /*M! ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin */;

-- Names whose row changed since it was last read, once for each change. Triggers write it, and the
-- daemon deletes exactly what it read; ids are no order.
CREATE TABLE IF NOT EXISTS vd_row_marks (
    id        INTEGER     NOT NULL PRIMARY KEY /*M! AUTO_INCREMENT */,
    appliance VARCHAR(63) NOT NULL,
    name      VARCHAR(63) NOT NULL
) /*M! ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin */;

/*M! ALTER TABLE vd_row_marks MODIFY id BIGINT NOT NULL AUTO_INCREMENT */;

CREATE INDEX IF NOT EXISTS vd_row_marks_appliance ON vd_row_marks (appliance);

-- The revision of a row when it was judged.
ALTER TABLE vd_source_files ADD COLUMN /*M! IF NOT EXISTS */ revision BIGINT;

-- How every volume stands, for programs that only speak SQL. The daemon writes a row when something
-- in it changed, and never reads it.
CREATE TABLE IF NOT EXISTS volume_status (
    appliance           VARCHAR(63) NOT NULL,
    name                VARCHAR(63) NOT NULL,
    source_state        VARCHAR(32),
    observed_revision   BIGINT,
    observed_generation BIGINT,
    phase               VARCHAR(16) NOT NULL,
    ready               SMALLINT    NOT NULL,
    volume_id           VARCHAR(36),
    vm_id               VARCHAR(36),
    device_path         VARCHAR(255),
    export_name         VARCHAR(255),
    message             MEDIUMTEXT  NOT NULL,
    updated_at          BIGINT      NOT NULL,
    PRIMARY KEY (appliance, name)
) /*M! ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin */;
