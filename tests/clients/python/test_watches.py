from kubernetes import watch
from kubernetes.client.exceptions import ApiException

from cluster import ClusterTest


class Watches(ClusterTest):
    def follow(self, count, **kwargs):
        """Returns the first events of a watch as (type, name)."""
        stream, seen = watch.Watch(), []
        kwargs = {"timeout_seconds": 30, "label_selector": "watched=y", **kwargs}
        for event in stream.stream(self.core.list_namespaced_config_map, self.namespace, **kwargs):
            seen.append((event["type"], event["object"].metadata.name, event["object"].metadata.resource_version))
            if len(seen) == count:
                stream.stop()
        return seen

    def test_a_watch_is_resumed_where_it_stopped(self):
        first = self.config_map("a", labels={"watched": "y"})
        self.assertEqual(self.follow(1)[0][:2], ("ADDED", "a"))
        self.core.patch_namespaced_config_map("a", self.namespace, {"data": {"k": "1"}})
        self.config_map("b", labels={"watched": "y"})
        events = self.follow(2, resource_version=first.metadata.resource_version)
        self.assertEqual([event[:2] for event in events], [("MODIFIED", "a"), ("ADDED", "b")])
        self.core.delete_namespaced_config_map("b", self.namespace)
        self.core.patch_namespaced_config_map("a", self.namespace, {"metadata": {"labels": {"watched": "n"}}})
        events = self.follow(2, resource_version=events[-1][2])
        self.assertEqual([event[:2] for event in events], [("DELETED", "b"), ("DELETED", "a")])

    def test_a_version_too_old_is_an_error_event(self):
        try:
            self.follow(1, resource_version="1", timeout_seconds=2)
        except ApiException as refusal:
            self.assertEqual(refusal.status, 410)
        else:
            self.skipTest("this server remembers everything")
