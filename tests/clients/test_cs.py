"""Exoscale's `cs`, unmodified, against the simulator."""

import unittest
import uuid

from cs import CloudStack, CloudStackApiException, CloudStackException

from simulated import ENDPOINT, KEY, SECRET, control

GIB = 1 << 30


def client(secret=SECRET, **options):
    options = {"poll_interval": 0.02, "job_timeout": 20, **options}
    return CloudStack(endpoint=ENDPOINT, key=KEY, secret=secret, **options)


class Cs(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.cs = client()
        self.zone = self.cs.listZones()["zone"][0]["id"]
        offerings = self.cs.listDiskOfferings()["diskoffering"]
        self.custom = next(o["id"] for o in offerings if o["iscustomized"])
        self.fixed = next(o["id"] for o in offerings if not o["iscustomized"])
        vms = self.cs.listVirtualMachines(details="min")["virtualmachine"]
        self.vms = {vm["name"]: vm["id"] for vm in vms}

    def create(self, **parameters):
        parameters = {
            "name": "vol-" + uuid.uuid4().hex,
            "zoneid": self.zone,
            "diskofferingid": self.custom,
            "size": 3,
            **parameters,
        }
        return self.cs.createVolume(fetch_result=True, **parameters)["volume"]

    def volume(self, id):
        return self.cs.listVolumes(id=id)["volume"][0]

    def refused(self, status, code, text, call, *arguments, **parameters):
        """The call is refused at once, with this HTTP status, cserrorcode and text."""
        with self.assertRaises(CloudStackApiException) as caught:
            call(*arguments, **parameters)
        error = caught.exception.error
        self.assertEqual(caught.exception.response.status_code, status, error)
        self.assertEqual(error["errorcode"], status)
        self.assertEqual(error.get("cserrorcode"), code)
        self.assertIn(text, error["errortext"])
        return error

    def fails(self, code, text, call, **parameters):
        """The call is accepted; its job fails with this code and text."""
        with self.assertRaises(CloudStackApiException) as caught:
            call(fetch_result=True, **parameters)
        error = caught.exception.error
        self.assertEqual(error["errorcode"], code, error)
        self.assertIn(text, error["errortext"])
        # A job's error has nothing else.
        self.assertEqual(set(error), {"errorcode", "errortext"})

    def test_a_volume_lives_and_dies(self):
        volume = self.create(name="life")
        self.assertEqual(volume["state"], "Allocated")
        self.assertEqual(volume["size"], 3 * GIB)
        self.assertNotIn("virtualmachineid", volume)
        id, vm = volume["id"], self.vms["appliance"]
        attached = self.cs.attachVolume(id=id, virtualmachineid=vm, fetch_result=True)
        self.assertEqual(attached["volume"]["virtualmachineid"], vm)
        self.assertEqual(self.volume(id)["state"], "Ready")
        self.assertIsInstance(self.volume(id)["deviceid"], int)
        self.cs.resizeVolume(id=id, size=5, fetch_result=True)
        self.assertEqual(self.volume(id)["size"], 5 * GIB)
        self.cs.updateVolume(id=id, name="renamed", fetch_result=True)
        self.assertEqual(self.volume(id)["name"], "renamed")
        detached = self.cs.detachVolume(id=id, fetch_result=True)["volume"]
        for field in ("virtualmachineid", "deviceid", "attached", "vmname"):
            self.assertNotIn(field, detached)
        self.assertEqual(self.cs.deleteVolume(id=id), {"success": True})
        self.assertEqual(self.cs.listVolumes(id=id), {})

    def test_a_destroyed_volume_stays_until_it_is_expunged(self):
        id = self.create()["id"]
        vm = self.vms["test-vm"]
        self.cs.attachVolume(id=id, virtualmachineid=vm, fetch_result=True)
        self.cs.detachVolume(id=id, fetch_result=True)
        if self.volume(id)["state"] == "Ready":
            self.cs.destroyVolume(id=id, fetch_result=True)
            self.assertEqual(self.volume(id)["state"], "Destroy")
        self.cs.destroyVolume(id=id, expunge=True, fetch_result=True)
        self.assertEqual(self.cs.listVolumes(id=id), {})

    def test_a_job_is_waited_for(self):
        submitted = self.cs.createVolume(
            name="later", zoneid=self.zone, diskofferingid=self.custom, size=1
        )
        # The row is there before the job is done.
        self.assertEqual(self.volume(submitted["id"])["state"], "Allocated")
        result = self.cs._jobresult(submitted["jobid"])
        self.assertEqual(result["volume"]["id"], submitted["id"])
        job = self.cs.queryAsyncJobResult(jobid=submitted["jobid"])
        self.assertEqual((job["jobstatus"], job["jobresultcode"]), (1, 0))
        self.assertEqual(job["jobinstanceid"], submitted["id"])
        self.assertTrue(job["cmd"].startswith("org.apache.cloudstack.api.command."))

    def test_lists_are_paged(self):
        prefix = "page-" + uuid.uuid4().hex
        names = [f"{prefix}-{n}" for n in range(505)]
        for name in names:
            self.cs.createVolume(
                name=name, zoneid=self.zone, diskofferingid=self.custom, size=1
            )
        first = self.cs.listVolumes(keyword=prefix)
        self.assertEqual((first["count"], len(first["volume"])), (505, 500))
        rows = self.cs.listVolumes(keyword=prefix, pagesize=500, fetch_list=True)
        self.assertEqual(sorted(row["name"] for row in rows), sorted(names))
        past = self.cs.listVolumes(keyword=prefix, page=3, pagesize=500)
        self.assertEqual(past, {"count": 505})
        rows = self.cs.listVolumes(keyword=prefix, pagesize=100, fetch_list=True)
        self.assertEqual(len({row["id"] for row in rows}), 505)
        self.refused(
            431, 9999, '"page" parameter is required', self.cs.listVolumes, pagesize=10
        )
        self.refused(
            431, 4350, "exceed max allowed page size value: 500",
            self.cs.listVolumes, page=1, pagesize=501,
        )

    def test_lists_are_filtered(self):
        name = "Filter-" + uuid.uuid4().hex
        one, two = self.create(name=name)["id"], self.create(name=name.upper())["id"]
        other = self.create(name=name + "x")["id"]

        def ids(**filters):
            rows = self.cs.listVolumes(**filters).get("volume", [])
            return {row["id"] for row in rows} & {one, two, other}

        # Names are compared as the database does: without case, and as a whole.
        self.assertEqual(ids(name=name.lower()), {one, two})
        self.assertEqual(ids(keyword=name[3:]), {one, two, other})
        self.assertEqual(ids(ids=f"{one},{other}"), {one, other})
        self.assertEqual(ids(keyword=name, type="DATADISK"), {one, two, other})
        self.assertEqual(ids(keyword=name, type="ROOT"), set())
        self.assertEqual(ids(keyword=name, zoneid=self.zone), {one, two, other})
        self.assertEqual(ids(keyword=name, diskofferingid=self.fixed), set())
        vm = self.vms["final-vm"]
        self.cs.attachVolume(id=two, virtualmachineid=vm, fetch_result=True)
        self.assertEqual(ids(virtualmachineid=vm), {two})
        self.cs.detachVolume(id=two, fetch_result=True)

    def test_tags_are_set_once(self):
        one, two = self.create()["id"], self.create()["id"]
        key = "k-" + uuid.uuid4().hex
        tag = {"resourceids": one, "resourcetype": "Volume"}
        made = self.cs.createTags(fetch_result=True, tags=[{"key": key, "value": "a b/ü*"}], **tag)
        self.assertEqual(made, {"success": True})
        other = [{"key": key, "value": "other"}]
        self.fails(530, "already on", self.cs.createTags, tags=other, **tag)
        found = self.cs.listVolumes(tags=[{"key": key, "value": "a b/ü*"}])["volume"]
        self.assertEqual([row["id"] for row in found], [one])
        self.assertEqual(found[0]["tags"][0]["value"], "a b/ü*")
        listed = self.cs.listTags(resourceid=one, resourcetype="Volume")["tag"]
        self.assertEqual([(t["key"], t["value"]) for t in listed], [(key, "a b/ü*")])
        both = {"resourceids": [one, two], "resourcetype": "Volume"}
        # One refused tag takes the whole call back.
        self.fails(530, "already on", self.cs.createTags, tags=[{"key": key, "value": "c"}], **both)
        self.assertEqual(self.volume(two)["tags"], [])
        self.cs.deleteTags(fetch_result=True, tags=[{"key": key, "value": "a b/ü*"}], **tag)
        self.fails(530, "Failed to delete tags", self.cs.deleteTags, tags=other, **tag)

    def test_what_is_wrong_with_a_request_is_said_at_once(self):
        nobody = str(uuid.uuid4())
        self.refused(
            431, 9999, "due to missing parameter virtualmachineid",
            self.cs.attachVolume, id=self.create()["id"],
        )
        self.refused(
            431, 9999, "entity does not exist", self.cs.deleteVolume, id=nobody
        )
        self.refused(431, 9999, "invalid value", self.cs.listVolumes, page="x", pagesize=1)
        self.refused(
            431, 4350, "requires a custom size specified",
            self.cs.createVolume, zoneid=self.zone, diskofferingid=self.custom,
        )
        self.refused(
            431, 4350, "does not allow custom size",
            self.cs.createVolume, zoneid=self.zone, diskofferingid=self.fixed, size=2,
        )
        gone = self.create()["id"]
        self.cs.deleteVolume(id=gone)
        # Ids of removed rows resolve, so this is another error than that of an unknown id.
        self.refused(431, 4350, "Unable to find volume", self.cs.deleteVolume, id=gone)

    def test_what_is_wrong_with_an_order_is_said_by_its_job(self):
        volume, vm = self.create()["id"], self.vms["appliance"]
        self.fails(431, "is not attached", self.cs.detachVolume, id=volume)
        self.cs.attachVolume(id=volume, virtualmachineid=vm, fetch_result=True)
        again = {"id": volume, "virtualmachineid": self.vms["final-vm"]}
        self.fails(431, "not attached to any VM", self.cs.attachVolume, **again)
        self.fails(432, "shrink", self.cs.resizeVolume, id=volume, size=1)
        self.refused(
            431, 4350, "not attached to any VM", self.cs.deleteVolume, id=volume
        )
        fault = {
            "kind": "failJob",
            "on": {"command": "detachVolume", "volume": volume},
            "text": "Failed to detach volume",
        }
        control("/faults", fault)
        self.fails(530, "Failed to detach", self.cs.detachVolume, id=volume)
        self.cs.detachVolume(id=volume, fetch_result=True)

    def on_storage(self):
        """A volume that has been on a VM, so that storage has it."""
        id = self.create()["id"]
        vm = self.vms["appliance"]
        self.cs.attachVolume(id=id, virtualmachineid=vm, fetch_result=True)
        self.cs.detachVolume(id=id, fetch_result=True)
        self.assertEqual(self.volume(id)["state"], "Ready")
        return id

    def test_a_destroyed_volume_comes_back(self):
        id = self.on_storage()
        self.cs.destroyVolume(id=id, fetch_result=True)
        self.assertEqual(self.volume(id)["state"], "Destroy")
        self.assertEqual(self.cs.recoverVolume(id=id)["volume"]["state"], "Ready")
        self.cs.deleteVolume(id=id)

    def test_a_snapshot_becomes_a_volume(self):
        id = self.on_storage()
        made = self.cs.createSnapshot(volumeid=id, name="s", fetch_result=True)["snapshot"]
        self.assertEqual((made["volumeid"], made["state"]), (id, "BackedUp"))
        listed = self.cs.listSnapshots(volumeid=id)
        self.assertEqual([row["id"] for row in listed["snapshot"]], [made["id"]])
        self.cs.revertSnapshot(id=made["id"], fetch_result=True)
        copy = self.cs.createVolume(
            name="copy", snapshotid=made["id"], fetch_result=True
        )["volume"]
        self.assertEqual((copy["size"], copy["state"]), (3 * GIB, "Ready"))
        self.cs.deleteSnapshot(id=made["id"], fetch_result=True)
        self.assertEqual(self.cs.listSnapshots(volumeid=id), {})
        allocated = self.create()["id"]
        self.refused(431, 4350, "", self.cs.createSnapshot, volumeid=allocated)

    def test_events_tell_what_was_done(self):
        id = self.create(name="told")["id"]
        self.cs.deleteVolume(id=id)
        rows = self.cs.listEvents(resourceid=id, resourcetype="Volume")["event"]
        self.assertLessEqual({"VOLUME.CREATE", "VOLUME.DELETE"}, {row["type"] for row in rows})
        self.assertEqual({row["username"] for row in rows}, {"admin"})

    def test_a_protected_volume_is_not_deleted(self):
        id = self.create()["id"]
        self.cs.updateVolume(id=id, deleteprotection=True, fetch_result=True)
        self.assertIs(self.volume(id)["deleteprotection"], True)
        self.refused(431, 4350, "delete protection", self.cs.deleteVolume, id=id)
        self.cs.updateVolume(id=id, deleteprotection=False, fetch_result=True)
        self.cs.deleteVolume(id=id)

    def test_a_vm_is_stopped_and_started(self):
        vm = self.vms["test-vm"]

        def state():
            return self.cs.listVirtualMachines(id=vm)["virtualmachine"][0]["state"]

        for call, expected in (
            (self.cs.startVirtualMachine, "Running"),
            (self.cs.rebootVirtualMachine, "Running"),
            (self.cs.stopVirtualMachine, "Stopped"),
        ):
            done = call(id=vm, fetch_result=True)["virtualmachine"]
            self.assertEqual((done["id"], done["state"]), (vm, expected))
            self.assertEqual(state(), expected)
        self.cs.destroyVirtualMachine(id=vm, fetch_result=True)
        self.assertEqual(state(), "Destroyed")
        self.assertEqual(self.cs.recoverVirtualMachine(id=vm)["virtualmachine"]["id"], vm)
        self.assertEqual(state(), "Stopped")

    def test_a_server_in_maintenance_and_a_failing_one(self):
        on = {"command": "listZones"}
        control("/faults", {"kind": "serviceUnavailable", "on": on})
        self.refused(503, 9999, "", self.cs.listZones)
        control("/faults", {"kind": "internalError", "on": on, "text": "it broke"})
        self.refused(530, 4250, "", self.cs.listZones)

    def test_a_parameter_that_is_wrongly_put_is_refused(self):
        # cs writes lists of objects rightly, so it is given a name.
        self.refused(430, 9999, "Unable to decode", self.cs.listVolumes, **{"tags[x].key": "k"})
        self.refused(432, 9999, "customer", self.cs.listTags, customer="c")

    def test_who_is_not_known_is_refused(self):
        wrong = client(secret="wrong")
        text = "unable to verify user credentials and/or request signature"
        error = self.refused(401, None, text, wrong.listVolumes)
        self.assertEqual(error["uuidList"], [])
        self.refused(401, None, text, self.cs.noSuchCommand)
        # Signed as well as any other, but too long ago.
        unversioned = client(expiration=-1)
        self.refused(
            401, None, text, unversioned.listVolumes,
            signatureVersion="3", expires="2020-01-01T00:00:00+0000",
        )

    def test_a_tilde_is_signed_differently(self):
        # cs leaves it as it is, Java's URLEncoder does not: CloudStack refuses cs, too.
        text = "unable to verify user credentials and/or request signature"
        self.refused(401, None, text, self.cs.listVolumes, name="a~b")

    def test_both_styles_of_signature_and_both_methods(self):
        for options in ({}, {"expiration": -1}, {"method": "post"}):
            with self.subTest(options):
                cs = client(**options)
                zones = cs.listZones(name="zone-1")["zone"]
                self.assertEqual([zone["name"] for zone in zones], ["zone-1"])
                made = cs.createVolume(
                    name="sign *()'é/+&=[0]%20", zoneid=self.zone,
                    diskofferingid=self.custom, size=1, fetch_result=True,
                )
                self.assertEqual(made["volume"]["name"], "sign *()'é/+&=[0]%20")

    def test_a_throttled_call_says_when_to_come_again(self):
        fault = {
            "kind": "tooManyRequests",
            "on": {"command": "listZones"},
            "retryAfterMs": 1234,
        }
        control("/faults", fault)
        self.refused(429, 9999, "retry after [1234] ms", self.cs.listZones)

    def test_a_proxy_in_between_is_no_cloudstack(self):
        control("/faults", {"kind": "badGateway", "on": {"command": "listZones"}})
        with self.assertRaises(CloudStackException) as caught:
            self.cs.listZones()
        self.assertNotIsInstance(caught.exception, CloudStackApiException)
        self.assertIn("502", str(caught.exception))

    def test_it_tells_what_it_can_do(self):
        self.assertIn("cloudstackversion", self.cs.listCapabilities()["capability"])
        apis = {api["name"] for api in self.cs.listApis()["api"]}
        self.assertLessEqual({"createVolume", "listVolumes", "queryAsyncJobResult"}, apis)


if __name__ == "__main__":
    unittest.main()
