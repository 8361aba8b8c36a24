"""Judges files for deployment by the schemas of those who read them, and prints what they say as JSON.

manifests.py compose FILE        by the specification of Compose
manifests.py kubernetes FILE...  by the schemas of Kubernetes, the oldest and the newest version that is meant

What is wrong ends the program with a message. Kinds that Kubernetes itself does not know are printed with "judged": false.
"""

import json
import sys

import yaml

KUBERNETES = ["1.29", "1.37"]


def compose(path):
    from compose_spec import PyCompose
    from compose_spec.models import ComposeSpecification

    with open(path, encoding="utf-8") as file:
        text = file.read()
    whole = PyCompose.from_yaml(text)
    whole.validate()
    whole.validate_volumes()
    whole.validate_networks()
    document = yaml.safe_load(text)
    ComposeSpecification.model_validate(document)
    return document


def kubernetes(paths):
    import kubernetes_validate

    found = []
    for path in paths:
        with open(path, encoding="utf-8") as file:
            documents = list(yaml.safe_load_all(file))
        for document in documents:
            judged = True
            for version in KUBERNETES:
                try:
                    kubernetes_validate.validate(document, version, strict=True)
                except kubernetes_validate.SchemaNotFoundError:
                    judged = False
            found.append({"file": path, "document": document, "judged": judged})
    return found


what, *files = sys.argv[1:]
print(json.dumps(compose(files[0]) if what == "compose" else kubernetes(files)))
