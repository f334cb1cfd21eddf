import time

from kubernetes import client, dynamic
from kubernetes.dynamic.exceptions import ConflictError, NotFoundError, ResourceNotFoundError, UnprocessibleEntityError

from cluster import ClusterTest, deployment

PATIENCE = 30


class Dynamic(ClusterTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.dynamic = dynamic.DynamicClient(client.ApiClient())

    def test_resources_are_found_by_kind(self):
        maps = self.dynamic.resources.get(api_version="v1", kind="ConfigMap")
        made = maps.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "made-"}}, namespace=self.namespace)
        read = maps.get(name=made.metadata.name, namespace=self.namespace)
        self.assertEqual(read.metadata.uid, made.metadata.uid)
        self.assertEqual(maps.get(namespace=self.namespace).kind, "ConfigMapList")
        maps.delete(name=made.metadata.name, namespace=self.namespace)
        with self.assertRaises(NotFoundError):
            maps.get(name=made.metadata.name, namespace=self.namespace)
        with self.assertRaises(ResourceNotFoundError):
            self.dynamic.resources.get(api_version="v1", kind="Gadget")

    def test_each_patch_type_has_its_own_meaning(self):
        deployments = self.dynamic.resources.get(api_version="apps/v1", kind="Deployment")
        deployments.create(deployment("patched"), namespace=self.namespace)
        patch = lambda body, kind: deployments.patch(
            body, name="patched", namespace=self.namespace, content_type=kind).spec.template.spec.containers
        side = {"spec": {"template": {"spec": {"containers": [{"name": "side", "image": "side:1"}]}}}}
        self.assertEqual(len(patch(side, "application/strategic-merge-patch+json")), 2)
        self.assertEqual(len(patch(side, "application/merge-patch+json")), 1)
        operation = [{"op": "test", "path": "/spec/replicas", "value": 7}]
        with self.assertRaises(UnprocessibleEntityError):
            patch(operation, "application/json-patch+json")

    def test_server_side_apply_has_owners(self):
        deployments = self.dynamic.resources.get(api_version="apps/v1", kind="Deployment")
        body = deployment("applied", 1)
        apply = lambda body, manager, **more: self.dynamic.server_side_apply(
            deployments, body, name="applied", namespace=self.namespace, field_manager=manager, **more)
        made = apply(body, "ours")
        self.assertEqual(apply(body, "ours").metadata.resourceVersion, made.metadata.resourceVersion)
        theirs = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "applied"}, "spec": {"replicas": 2}}
        with self.assertRaises(ConflictError) as caught:
            apply(theirs, "theirs")
        self.assertIn('conflict with \\"ours\\": .spec.replicas', caught.exception.body.decode())
        self.assertEqual(apply(theirs, "theirs", force_conflicts=True).spec.replicas, 2)

    def test_custom_resources_are_served_once_established(self):
        group = f"{self.namespace}.example.com"
        schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": {
            "size": {"type": "integer", "minimum": 1, "default": 3}}}}}
        body = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
                "metadata": {"name": f"widgets.{group}"},
                "spec": {"group": group, "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
                         "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}]}}
        extensions = client.ApiextensionsV1Api()
        extensions.create_custom_resource_definition(body)
        try:
            deadline = time.monotonic() + PATIENCE
            while True:
                try:
                    widgets = self.dynamic.resources.get(api_version=f"{group}/v1", kind="Widget")
                    break
                except ResourceNotFoundError:
                    self.assertLess(time.monotonic(), deadline, "the kind was not served")
                    self.dynamic.resources.invalidate_cache()
            made = widgets.create({"apiVersion": f"{group}/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {}}, namespace=self.namespace)
            self.assertEqual(made.spec.size, 3)
            with self.assertRaises(UnprocessibleEntityError) as caught:
                widgets.patch({"spec": {"size": 0}}, name="w", namespace=self.namespace, content_type="application/merge-patch+json")
            self.assertIn("should be greater than or equal to 1", caught.exception.body.decode())
            listed = client.CustomObjectsApi().list_namespaced_custom_object(group, "v1", self.namespace, "widgets")
            self.assertEqual(listed["kind"], "WidgetList")
            for event in widgets.watch(namespace=self.namespace, timeout=1):
                self.assertEqual(event["object"].metadata.name, "w")
        finally:
            extensions.delete_custom_resource_definition(f"widgets.{group}")
