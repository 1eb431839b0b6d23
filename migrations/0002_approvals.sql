-- Steps that the guard held back and a person let pass: which, until when, and why. Kept for people.
CREATE TABLE IF NOT EXISTS vd_approvals (
    appliance   VARCHAR(63) NOT NULL,
    name        VARCHAR(63) NOT NULL,
    approved_at BIGINT      NOT NULL,
    until_at    BIGINT      NOT NULL,
    digest      VARCHAR(40) NOT NULL,
    action      MEDIUMTEXT  NOT NULL,
    reason      MEDIUMTEXT  NOT NULL,
    PRIMARY KEY (appliance, name, approved_at)
) /*M! ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin */;
