"""The files that describe clusters, held against Ray's own validation and KubeRay's field names."""

from pathlib import Path

import pytest
import ray
import yaml

ROOT = Path(__file__).parents[2]

# The json names of KubeRay's ray-operator/apis/ray/v1/{rayjob,raycluster}_types.go.
RAYJOB = set(
    """activeDeadlineSeconds backoffLimit rayClusterSpec submitterPodTemplate metadata
    clusterSelector submitterConfig managedBy deletionStrategy entrypoint runtimeEnvYAML jobId
    submissionMode entrypointResources entrypointNumCpus entrypointNumGpus
    ttlSecondsAfterFinished shutdownAfterJobFinishes suspend""".split()
)
CLUSTER = set(
    """headGroupSpec workerGroupSpecs rayVersion enableInTreeAutoscaling autoscalerOptions
    suspend managedBy headServiceAnnotations gcsFaultToleranceOptions""".split()
)
AUTOSCALER = set(
    """resources image imagePullPolicy env envFrom volumeMounts securityContext
    idleTimeoutSeconds upscalingMode version""".split()
)
GROUP = {"serviceType", "headService", "enableIngress", "rayStartParams", "template"}
NEEDED = {"groupName", "minReplicas", "maxReplicas", "rayStartParams", "template"}
WORKERS = NEEDED | {"replicas", "numOfHosts", "scaleStrategy", "suspend", "idleTimeoutSeconds"}


@pytest.fixture
def aws():
    return yaml.safe_load((ROOT / "ray_cluster.yaml").read_text())


def validate(config):
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(config)
    validate_config(prepared)
    return prepared


def test_ray_accepts_the_cluster_file(aws):
    prepared = validate(aws)
    assert prepared["available_node_types"]["gpu"]["min_workers"] == 0
    assert prepared["head_node_type"] == "head"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda config: config.update(head_node_type="nosuch"),
        lambda config: config.update(unknown_key=1),
        lambda config: config["available_node_types"]["gpu"].update(resources={"GPU": 0.5}),
        lambda config: config["available_node_types"]["gpu"].pop("node_config"),
        lambda config: config["available_node_types"]["gpu"].update(min_workers=99),
        lambda config: config["provider"].pop("type"),
    ],
)
def test_ray_would_refuse_a_spoilt_one(aws, spoil):
    spoil(aws)
    with pytest.raises(Exception) as caught:  # noqa: B017, PT011 - Ray raises what it likes: schema, value, key
        validate(aws)
    assert not isinstance(caught.value, AssertionError)


def test_the_cluster_file_keeps_its_promises(aws):
    head, gpu = aws["available_node_types"]["head"], aws["available_node_types"]["gpu"]
    assert head["resources"] == {"CPU": 0}
    assert gpu["resources"]["GPU"] >= 1
    assert gpu["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert gpu["max_workers"] <= aws["max_workers"]
    commands = "\n".join([*aws["setup_commands"], *aws["head_setup_commands"]])
    for part in ("kdbench", "postgresql:///", "--artifacts-destination s3://", "--host 127.0.0.1"):
        assert part in commands
    text = (ROOT / "ray_cluster.yaml").read_text()
    assert not any(word in text for word in ("password=", "AWS_SECRET", "0.0.0.0"))  # noqa: S104
    assert not set(aws) & {"search", "methods", "training", "pairs"}


def test_the_rayjob_has_kuberays_fields_and_no_others():
    job = yaml.safe_load((ROOT / "docs" / "kuberay-job.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    spec = job["spec"]
    assert set(spec) <= RAYJOB
    assert spec["entrypoint"].startswith("kdbench launch ")
    assert set(yaml.safe_load(spec["runtimeEnvYAML"])) == {"env_vars"}
    cluster = spec["rayClusterSpec"]
    assert set(cluster) <= CLUSTER
    assert cluster["rayVersion"] == ray.__version__
    assert set(cluster["autoscalerOptions"]) <= AUTOSCALER
    assert set(cluster["headGroupSpec"]) <= GROUP and {"rayStartParams", "template"} <= set(
        cluster["headGroupSpec"]
    )
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    for group in cluster["workerGroupSpecs"]:
        assert set(group) <= WORKERS
        assert NEEDED <= set(group)
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        pod = group["template"]["spec"]
        volumes = {volume["name"] for volume in pod["volumes"]}
        for container in pod["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
