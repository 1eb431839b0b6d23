-- Marks the name of every row that is written or deleted. Not part of a migration: a user may be
-- allowed to make tables and not triggers, and then rows are compared instead. INSERT … SELECT leaves
-- rows of an appliance that no daemon ever had unmarked, since nobody would take their marks away.
CREATE TRIGGER IF NOT EXISTS vd_row_inserted AFTER INSERT ON desired_volumes FOR EACH ROW BEGIN
    INSERT INTO vd_row_marks (appliance, name)
        SELECT NEW.appliance, NEW.name FROM vd_instance WHERE appliance = NEW.appliance;
END;
CREATE TRIGGER IF NOT EXISTS vd_row_updated AFTER UPDATE ON desired_volumes FOR EACH ROW BEGIN
    INSERT INTO vd_row_marks (appliance, name)
        SELECT NEW.appliance, NEW.name FROM vd_instance WHERE appliance = NEW.appliance;
    INSERT INTO vd_row_marks (appliance, name)
        SELECT OLD.appliance, OLD.name FROM vd_instance
        WHERE appliance = OLD.appliance
          AND (OLD.appliance <> NEW.appliance OR OLD.name <> NEW.name);
END;
CREATE TRIGGER IF NOT EXISTS vd_row_deleted AFTER DELETE ON desired_volumes FOR EACH ROW BEGIN
    INSERT INTO vd_row_marks (appliance, name)
        SELECT OLD.appliance, OLD.name FROM vd_instance WHERE appliance = OLD.appliance;
END;
