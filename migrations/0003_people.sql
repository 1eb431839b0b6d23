-- What people said, and by what an account is known again.

-- What is to be left alone for a while; the name '*' stands for everything.
CREATE TABLE IF NOT EXISTS vd_pauses (
    name      VARCHAR(63) NOT NULL PRIMARY KEY,
    until_at  BIGINT      NOT NULL,
    reason    MEDIUMTEXT  NOT NULL,
    paused_at BIGINT      NOT NULL
);

-- Specs whose claims on volumes are left alone although vd_specs does not have them.
CREATE TABLE IF NOT EXISTS vd_disowned (
    uid         VARCHAR(36) NOT NULL PRIMARY KEY,
    volume_id   VARCHAR(36) NOT NULL,
    disowned_at BIGINT      NOT NULL
);

-- The account that was last seen to be the right one, as a digest: at most one row.
CREATE TABLE IF NOT EXISTS vd_account (
    one       BIGINT      NOT NULL PRIMARY KEY,
    mark      VARCHAR(64) NOT NULL,
    proven_at BIGINT      NOT NULL
);
