"""What every test needs: a client for the cluster that KUBECONFIG names, and a namespace of its own."""

import unittest
import uuid

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException


class ClusterTest(unittest.TestCase):
    """Works in a namespace of its own, which is deleted afterwards."""

    @classmethod
    def setUpClass(cls):
        config.load_kube_config()
        cls.core = client.CoreV1Api()
        cls.apps = client.AppsV1Api()
        cls.namespace = "python-" + uuid.uuid4().hex[:8]
        cls.core.create_namespace({"metadata": {"name": cls.namespace}})

    @classmethod
    def tearDownClass(cls):
        cls.core.delete_namespace(cls.namespace)

    def refused(self, status, text, call, *args, **kwargs):
        """Fails unless a call is refused with this status and a body that says `text`."""
        with self.assertRaises(ApiException) as caught:
            call(*args, **kwargs)
        self.assertEqual(caught.exception.status, status, caught.exception.body)
        self.assertIn(text, caught.exception.body)
        return caught.exception

    def config_map(self, name, data=None, labels=None):
        body = {"metadata": {"name": name, "labels": labels or {}}, "data": data or {}}
        return self.core.create_namespaced_config_map(self.namespace, body)


def deployment(name, replicas=0):
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}
