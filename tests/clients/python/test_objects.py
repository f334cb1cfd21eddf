import json

from kubernetes import client

from cluster import ClusterTest, deployment


class Objects(ClusterTest):
    def test_typed_objects_are_written_and_read(self):
        made = self.apps.create_namespaced_deployment(self.namespace, deployment("typed"))
        self.assertEqual(made.spec.replicas, 0)
        self.assertEqual(made.metadata.generation, 1)
        self.assertIsNotNone(made.metadata.creation_timestamp.tzinfo)
        made.spec.template.spec.containers[0].image = "i:2"
        changed = self.apps.replace_namespaced_deployment("typed", self.namespace, made)
        self.assertEqual(changed.metadata.generation, 2)
        self.refused(409, "the object has been modified", self.apps.replace_namespaced_deployment, "typed", self.namespace, made)
        scale = self.apps.read_namespaced_deployment_scale("typed", self.namespace)
        scale.spec.replicas = 3
        self.apps.replace_namespaced_deployment_scale("typed", self.namespace, scale)
        self.assertEqual(self.apps.read_namespaced_deployment("typed", self.namespace).spec.replicas, 3)
        status = self.apps.delete_namespaced_deployment("typed", self.namespace)
        self.assertEqual(status.status, "Success")
        self.refused(404, 'deployments.apps \\"typed\\" not found', self.apps.read_namespaced_deployment, "typed", self.namespace)

    def test_the_body_decides_between_json_patch_and_strategic_merge(self):
        self.apps.create_namespaced_deployment(self.namespace, deployment("patched"))
        patch = lambda body: self.apps.patch_namespaced_deployment(
            "patched", self.namespace, body).spec.template.spec.containers
        side = {"spec": {"template": {"spec": {"containers": [{"name": "side", "image": "side:1"}]}}}}
        self.assertEqual([container.name for container in patch(side)], ["side", "c"])
        operation = [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "side:2"}]
        self.assertEqual(patch(operation)[0].image, "side:2")
        status = self.apps.patch_namespaced_deployment_status("patched", self.namespace, {"status": {"replicas": 2}})
        self.assertEqual(status.status.replicas, 2)

    def test_lists_come_in_pages(self):
        for number in range(7):
            self.config_map(f"page-{number}", labels={"paged": "y"})
        names, token = [], None
        while True:
            page = self.core.list_namespaced_config_map(self.namespace, label_selector="paged=y", limit=3, _continue=token)
            names += [item.metadata.name for item in page.items]
            token = page.metadata._continue
            if not token:
                break
        self.assertEqual(names, [f"page-{number}" for number in range(7)])
        self.core.delete_collection_namespaced_config_map(self.namespace, label_selector="paged=y")
        left = self.core.list_namespaced_config_map(self.namespace, label_selector="paged=y")
        self.assertEqual(left.items, [])

    def test_mistakes_have_the_status_and_reason_of_kubernetes(self):
        self.config_map("twice")
        conflict = self.refused(409, "already exists", self.config_map, "twice")
        self.assertEqual(json.loads(conflict.body)["reason"], "AlreadyExists")
        invalid = self.refused(422, "metadata.name", self.config_map, "Not_A_Name")
        body = json.loads(invalid.body)
        self.assertEqual(body["reason"], "Invalid")
        self.assertEqual(body["details"]["causes"][0]["field"], "metadata.name")
        self.refused(404, "NotFound", self.core.create_namespaced_config_map, "no-such-namespace", {"metadata": {"name": "a"}})
        self.refused(400, "BadRequest", self.core.list_namespaced_config_map, self.namespace, label_selector="a in")
        self.refused(400, 'unknown field \\"daat\\"', self.core.create_namespaced_config_map, self.namespace,
                     {"metadata": {"name": "strict"}, "daat": {}}, field_validation="Strict")
        anonymous = client.ApiClient(self._anonymous())
        self.refused(403, "system:anonymous", client.CoreV1Api(anonymous).list_namespaced_secret, self.namespace)

    @staticmethod
    def _anonymous():
        known = client.Configuration.get_default_copy()
        plain = client.Configuration()
        plain.host, plain.ssl_ca_cert = known.host, known.ssl_ca_cert
        return plain

    def test_dry_runs_and_tokens(self):
        self.core.create_namespaced_config_map(self.namespace, {"metadata": {"name": "dry"}}, dry_run="All")
        self.refused(404, "NotFound", self.core.read_namespaced_config_map, "dry", self.namespace)
        self.core.create_namespaced_service_account(self.namespace, {"metadata": {"name": "robot"}})
        request = self.core.create_namespaced_service_account_token(
            "robot", self.namespace, {"spec": {"audiences": [], "expirationSeconds": 600}})
        configuration = self._anonymous()
        configuration.api_key = {"authorization": "Bearer " + request.status.token}
        review = client.AuthenticationV1Api(client.ApiClient(configuration)).create_self_subject_review({})
        self.assertEqual(review.status.user_info.username, f"system:serviceaccount:{self.namespace}:robot")
