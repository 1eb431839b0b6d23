-- Who brought a difference about, as CloudStack's event log says; account, login, kind and done_at are
-- NULL if it says nothing. Free text that others wrote is in account and login.
CREATE TABLE IF NOT EXISTS vd_culprits (
    appliance VARCHAR(63)  NOT NULL,
    episode   VARCHAR(255) NOT NULL,
    account   VARCHAR(255),
    login     VARCHAR(255),
    kind      VARCHAR(64),
    done_at   BIGINT,
    PRIMARY KEY (appliance, episode)
) /*M! ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin */;
