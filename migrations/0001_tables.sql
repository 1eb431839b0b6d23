-- The daemon's own tables, in the subset of SQL that SQLite and MariaDB share:
-- ids and states as VARCHAR, moments as BIGINT milliseconds since 1970 UTC, documents as JSON
-- text. IF NOT EXISTS throughout: MariaDB commits each statement by itself, so a migration
-- that was cut short is run again. A MariaDB database needs the collation utf8mb4_bin,
-- because export names and paths differ by case.
--
-- No column holds a credential. Free text that others wrote is in vd_specs.manifest,
-- vd_spec_versions.manifest, vd_source_files.problems and vd_intents.outcome_text.

-- Whose store this is: exactly one row.
CREATE TABLE IF NOT EXISTS vd_instance (
    one         BIGINT      NOT NULL PRIMARY KEY,
    instance_id VARCHAR(36) NOT NULL,
    vm_id       VARCHAR(36),
    created_at  BIGINT      NOT NULL
);

-- Who may write: exactly one row. Each writable opening takes the next epoch; a writer
-- with an older one is refused.
CREATE TABLE IF NOT EXISTS vd_lease (
    one      BIGINT      NOT NULL PRIMARY KEY,
    epoch    BIGINT      NOT NULL,
    holder   VARCHAR(64) NOT NULL,
    taken_at BIGINT      NOT NULL,
    used_at  BIGINT      NOT NULL
);

-- The accepted version of each spec. Never deleted: the uid of a name is for ever.
CREATE TABLE IF NOT EXISTS vd_specs (
    name        VARCHAR(63)  NOT NULL PRIMARY KEY,
    uid         VARCHAR(36)  NOT NULL,
    generation  BIGINT       NOT NULL,
    owner       VARCHAR(700) NOT NULL,
    manifest    MEDIUMTEXT   NOT NULL,
    accepted_at BIGINT       NOT NULL,
    abandoned   BIGINT       NOT NULL,
    counted_ms  BIGINT       NOT NULL
);

-- The latest accepted versions of each spec, for people.
CREATE TABLE IF NOT EXISTS vd_spec_versions (
    name        VARCHAR(63) NOT NULL,
    generation  BIGINT      NOT NULL,
    manifest    MEDIUMTEXT  NOT NULL,
    accepted_at BIGINT      NOT NULL,
    PRIMARY KEY (name, generation)
);

-- Spec files as they were last judged.
CREATE TABLE IF NOT EXISTS vd_source_files (
    path     VARCHAR(700) NOT NULL PRIMARY KEY,
    hash     VARCHAR(40)  NOT NULL,
    device   BIGINT       NOT NULL,
    state    VARCHAR(32)  NOT NULL,
    problems MEDIUMTEXT   NOT NULL,
    since    BIGINT       NOT NULL
);

-- Which volume a spec is about, for ever: one volume for each name, one name for each volume.
CREATE TABLE IF NOT EXISTS vd_bindings (
    name      VARCHAR(63) NOT NULL PRIMARY KEY,
    volume_id VARCHAR(36) NOT NULL UNIQUE,
    uid       VARCHAR(36) NOT NULL,
    mark      VARCHAR(16) NOT NULL,
    bound_at  BIGINT      NOT NULL
);

-- On which VM this daemon last put a volume.
CREATE TABLE IF NOT EXISTS vd_placements (
    volume_id VARCHAR(36) NOT NULL PRIMARY KEY,
    vm_id     VARCHAR(36) NOT NULL,
    placed_at BIGINT      NOT NULL
);

-- Which volume an export name belongs to, for ever.
CREATE TABLE IF NOT EXISTS vd_export_names (
    export_name VARCHAR(255) NOT NULL PRIMARY KEY,
    volume_id   VARCHAR(36)  NOT NULL,
    claimed_at  BIGINT       NOT NULL
);

-- One row for each mutating CloudStack call, written before the call. settled_at is
-- NULL until its end is known.
CREATE TABLE IF NOT EXISTS vd_intents (
    id             VARCHAR(36)  NOT NULL PRIMARY KEY,
    epoch          BIGINT       NOT NULL,
    name           VARCHAR(63)  NOT NULL,
    generation     BIGINT       NOT NULL,
    owner          VARCHAR(700) NOT NULL,
    volume_id      VARCHAR(36),
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
    created_volume VARCHAR(36)
);

-- What the names in a spec were found to mean.
CREATE TABLE IF NOT EXISTS vd_resolutions (
    name       VARCHAR(63) NOT NULL PRIMARY KEY,
    resolution MEDIUMTEXT  NOT NULL
);

-- What CloudStack last said of a bound volume.
CREATE TABLE IF NOT EXISTS vd_views (
    volume_id VARCHAR(36) NOT NULL PRIMARY KEY,
    view      MEDIUMTEXT  NOT NULL
);
