//! Templates: the predecessor's names and JSON's, and what whoever may write one tries to get by it.

use serde_json::{Value, json};
use std::time::{Duration, Instant};
use volume_syncing_controller::operator::template::Templates;

fn pod() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": "app-",
            "labels": {"app": "web", "App": "other", "app.kubernetes.io/name": "press"},
            "annotations": {"subdir": "a/b", "odd": "<&>'\"", "money": "$(SECRET)", "dollar": "$", "bracket": "(SECRET)"},
            "uid": "1-2",
        },
        "spec": {
            "nodeName": "n1",
            "dnsPolicy": "Default",
            "securityContext": {"fsGroup": 7},
            "containers": [{"name": "one", "env": [{"name": "TOKEN", "value": "hidden"}]}, {"name": "two"}],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "claim"}}],
        },
        "status": {"podIP": "10.0.0.1"},
    })
}

fn strict(source: &str) -> Result<String, String> {
    Templates::new(&pod(), "press").strict(source).map_err(|error| error.to_string())
}

#[test]
fn names_of_go_and_of_json_lead_to_the_same_values() {
    for (source, expected) in [
        (r#"{{ pod.ObjectMeta.Annotations["subdir"] }}"#, "a/b"),
        (r#"{{ pod.metadata.annotations["subdir"] }}"#, "a/b"),
        ("{{ pod.Annotations.subdir }}", "a/b"),
        (r#"{{ pod.Labels["app.kubernetes.io/name"] }}"#, "press"),
        ("{{ pod.Labels.app }}-{{ pod.Labels.App }}", "web-other"),
        (
            "{{ pod.Namespace }} {{ pod.GetNamespace() }} {{ pod.ObjectMeta.GetNamespace() }} {{ pod.metadata.namespace }}",
            "press press press press",
        ),
        (
            "{{ pod.Name }} {{ pod.ObjectMeta.Name }} {{ pod.GetName() }} {{ pod.metadata.name }}",
            "$(POD_NAME) $(POD_NAME) $(POD_NAME) $(POD_NAME)",
        ),
        ("{{ pod.Spec.NodeName }} {{ pod.spec.nodeName }} {{ pod.Spec.DNSPolicy }} {{ pod.UID }}", "n1 n1 Default 1-2"),
        ("{{ pod.Spec.SecurityContext.FSGroup + 1 }}", "8"),
        ("{{ pod.Spec.Volumes[0].VolumeSource.PersistentVolumeClaim.ClaimName }}", "claim"),
        ("{% for c in pod.spec.containers %}{{ c.name }}.{% endfor %}", "one.two."),
        ("{{ pod.Spec.Containers | length }}", "2"),
        ("{% if pod.Labels.app == 'web' %}w{% else %}o{% endif %}", "w"),
        ("{{ pod.Labels.none | default('x') }}{{ pod.metadata.annotations.subdir | replace('/', '-') | upper | safe }}", "xA-B"),
        // HTML is nobody's business here.
        ("{{ pod.Annotations.odd }}", "<&>'\""),
        ("{% raw %}{{ pod.Name }}{% endraw %}", "{{ pod.Name }}"),
        ("no template: {x} $(POD_NAME) *", "no template: {x} $(POD_NAME) *"),
    ] {
        assert_eq!(strict(source).as_deref(), Ok(expected), "{source}");
    }
    let named = Templates::new(&json!({"metadata": {"name": "db-0"}}), "press");
    assert_eq!(named.strict("b/{{ pod.ObjectMeta.Name }}").as_deref(), Ok("b/db-0"));
}

#[test]
fn what_is_missing_is_named_where_it_must_be_there_and_empty_elsewhere() {
    for (source, expected) in [
        (r#"b/{{ pod.ObjectMeta.Annotations["none"] }}"#, r#"no pod.metadata.annotations["none"]: add it"#),
        ("b/{{ pod.Labels.none }}", r#"no pod.metadata.labels["none"]"#),
        ("b/{{ pod.spec.serviceAccountName }}", "no pod.spec.serviceAccountName"),
        ("b/{{ nobody }}", "undefined"),
        ("b/{{ pod.metadata }}", "not a text"),
        ("b/{{ 'x' ~ pod.spec }}", "pod.spec is not a text"),
        ("b/{{ pod.Name | default:'x' }}", "default(\"text\")"),
        ("b/{{ pod.Name", "Jinja"),
        ("b/{{ pod.Labels.app | nonesuch }}", "nonesuch"),
        ("b/{{ pod.Destroy() }}", "there is no pod.Destroy()"),
    ] {
        let error = strict(source).unwrap_err();
        assert!(error.contains(expected), "{source}: {error}");
    }
    let templates = Templates::new(&json!({"metadata": {}}), "press");
    assert!(templates.strict("{{ pod.metadata.annotations['a'] }}").unwrap_err().to_string().contains(r#"annotations["a"]"#));
    assert_eq!(templates.lenient("[{{ pod.metadata.annotations['a'].b.c }}{{ pod.Labels.a }}]").as_deref(), Ok("[]"));
}

#[test]
fn a_template_reaches_nothing_but_the_pod() {
    for source in [
        "{% include '/etc/passwd' %}",
        "{% ssi '/var/run/secrets/kubernetes.io/serviceaccount/token' %}",
        "{% import 'x' as y %}",
        "{% extends '/etc/passwd' %}",
        "{%- from 'x' import y %}",
        "{%+ set x = 1 %}",
        "{% macro m() %}{% endmacro %}",
        "{% with x = 1 %}{% endwith %}",
        "{% filter upper %}x{% endfilter %}",
        "{% block x %}{% endblock %}",
        "{{ self }}",
        "{{ env }}",
        "{{ range(9) }}",
        "{{ namespace() }}",
        "{{ debug() }}",
        "{{ pod.status.podIP }}",
        "{{ pod.Status.PodIP }}",
        "{{ pod.kind }}",
        "{{ pod.__class__.__mro__ }}",
        "{{ pod.Spec.Containers[9].Name }}",
        "{{ pod['../../x'] }}",
        "{{ pod['/metadata/uid'] }}",
    ] {
        let outcome = strict(source);
        assert!(outcome.is_err(), "{source}: {outcome:?}");
    }
}

#[test]
fn a_value_of_the_pod_never_becomes_a_reference_to_a_secret() {
    assert_eq!(strict("b/{{ pod.Annotations.money }}").as_deref(), Ok("b/$$(SECRET)"));
    assert_eq!(strict("b/{{ pod.Annotations.dollar }}{{ pod.Annotations.bracket }}").as_deref(), Ok("b/$$(SECRET)"));
    assert_eq!(strict("b/{{ pod.Annotations.money | lower | replace('b', 'c') }}").as_deref(), Ok("b/$$(secret)"));
    for source in [
        "b/${{ pod.Annotations.bracket }}",
        "b/$ {{- pod.Annotations.bracket }}",
        "b/${% if true %}{{ pod.Annotations.bracket }}{% endif %}",
    ] {
        assert!(strict(source).unwrap_err().contains("'$' stands directly before"), "{source}");
    }
}

#[test]
fn a_name_that_is_not_made_yet_is_written_whole_or_not_at_all() {
    for (source, expected) in [
        ("x-{{ pod.metadata.name }}-y", "x-$(POD_NAME)-y"),
        (
            "{{ pod.Name | safe }}{{ pod.GetName() | d('x') }}{{ pod.Name | default('x', true) }}",
            "$(POD_NAME)$(POD_NAME)$(POD_NAME)",
        ),
        ("{% if pod.Name %}{{ pod.Name }}{% else %}none{% endif %}", "$(POD_NAME)"),
        ("{% if pod.Name is defined and pod.Name is not none %}{{ pod.Name or 'none' }}{% endif %}", "$(POD_NAME)"),
        ("{{ 'none' if not pod.Name else pod.Name }}", "$(POD_NAME)"),
        ("{% for name in [pod.Name] %}{{ name }}/{{ name }}{% endfor %}", "$(POD_NAME)/$(POD_NAME)"),
        // A text of the Pod's or the author's that looks like it stays a text.
        ("{{ '$(POD_NAME)' }}{{ '$(POD_NAME)' | safe | lower }}", "$$(POD_NAME)$$(pod_name)"),
    ] {
        assert_eq!(strict(source).as_deref(), Ok(expected), "{source}");
    }
    let others = [
        "pod.Name | lower",
        "pod.Name | upper",
        "pod.Name | title",
        "pod.Name | capitalize",
        "pod.Name | trim",
        "pod.Name | trim('(POD_NAME)')",
        "pod.Name | length",
        "pod.Name | first",
        "pod.Name | last",
        "pod.Name | replace('P', 'x')",
        "'x-P' | replace('P', pod.Name)",
        "'x-P' | replace(pod.Name, '')",
        "pod.Name | cut('app-')",
        "'app-x' | cut(pod.Name)",
        "pod.Labels.none | default(pod.Name) | lower",
        "[pod.Name] | first | upper",
        "[pod.Name] | length",
        "[pod.Name]",
        "'x-' ~ pod.Name",
        "pod.Name ~ 'x'",
        "pod.Name ~ pod.Name",
        "pod.Name + 'x'",
        "'x' + pod.Name",
        "pod.Name - 1",
        "-pod.Name",
        "pod.Name / 2",
        "pod.Name // 2",
        "pod.Name % 2",
        "pod.Name[0]",
        "pod.Name.x",
        "pod.Name.lower()",
        "pod.Name()",
        "pod.Name == 'db-0'",
        "pod.Name != 'db-0'",
        "pod.Name == pod.Name",
        "pod.Name < 'n'",
        "pod.Name >= 'n'",
        "pod.Name in 'abc'",
        "pod.Name in ['a']",
        "'a' in pod.Name",
        "'x' if pod.Name == 'a' else 'y'",
        "pod.metadata.labels[pod.Name]",
        "pod.metadata.labels[pod.Name] | default('x')",
        "pod[pod.Name]",
    ];
    for expression in others {
        for source in [format!("{{{{ {expression} }}}}"), format!("{{% if ({expression}) %}}a{{% else %}}b{{% endif %}}")] {
            for outcome in [Templates::new(&pod(), "press").strict(&source), Templates::new(&pod(), "press").lenient(&source)] {
                // Of a list that is only asked whether it is empty nothing is made.
                if let Ok(text) = &outcome
                    && source == "{% if ([pod.Name]) %}a{% else %}b{% endif %}"
                {
                    assert_eq!(text, "a");
                    continue;
                }
                let error = outcome.map_err(|error| error.to_string()).expect_err(&source);
                assert!(error.contains("Write it by itself: {{ pod.metadata.name }}"), "{source}: {error}");
            }
        }
    }
    let named = Templates::new(&json!({"metadata": {"name": "db-0"}}), "press");
    assert_eq!(named.strict("{{ pod.Name | cut('db-') }}{{ pod.Name == 'db-0' }}").as_deref(), Ok("0True"));
}

#[test]
fn a_template_that_wants_much_is_refused_soon() {
    let began = Instant::now();
    let mut pod_of_many = pod();
    pod_of_many["metadata"]["annotations"]["value"] = "x".repeat(4096).into();
    pod_of_many["metadata"]["labels"] = (0..2000).map(|number| (format!("label-{number}"), json!(""))).collect::<Value>();
    pod_of_many["spec"]["tolerations"] = vec![json!({}); 1000].into();
    let crowded = Templates::new(&pod_of_many, "press");
    let many = "{% for a in pod.spec.containers %}".repeat(60);
    let chain = format!("{{{{ 'aaaa'{} }}}}", "|replace('a','aaaaaaaaaa')".repeat(100));
    let (joins, value) = ("~pod.Annotations.subdir".repeat(17), "{{ pod.Annotations.value }}");
    let loops = "{% for a in pod.spec.tolerations %}";
    for source in [
        // The mark that ends an expression is a text here.
        "{{ '}}' ~ ('abcdefgh' * 10000000) | length }}".into(),
        "{% if '%}' * 30000000 == 'x' %}a{% endif %}".into(),
        "{% raw %}{{ ' {% endraw %}{{ 'a' * 90000000 }}".into(),
        "{{ ''[::-1] }}{{ pod.Annotations.subdir[0:1] }}".into(),
        format!("{{{{ 'x'{joins} }}}}"),
        format!("{{{{ 'x'{} }}}}", joins.replace('~', " + ")),
        format!("{loops}{loops}{value}{{% endfor %}}{{% endfor %}}"),
        format!("{loops}{{{{ pod.Labels | length }}}}{{% endfor %}}"),
        format!("{many}x{}", "{% endfor %}".repeat(60)),
        chain,
        "{{ 'x' * 100000000 }}".into(),
        "{{ [1] * 100000000 }}".into(),
        "{% for a in [1]*100000000 %}x{% endfor %}".into(),
        "{{ 9 ** 999999999 }}".into(),
        "{% set x = 'a' %}{% set x = x ~ x %}".into(),
        "{{ pod ~ pod ~ pod }}".into(),
        "{{ pod.metadata.annotations }}".into(),
        format!("{{{{ {} }}}}", "(".repeat(2000)),
        format!("{{{{ pod.Name }}}}{}", "x".repeat(5000)),
    ] {
        let outcome = crowded.strict(&source);
        assert!(outcome.is_err(), "{}…: {:?}", &source[..40], outcome.map(|text| text.len()));
    }
    let mut large = pod();
    large["metadata"]["annotations"]["large"] = "x".repeat(200_000).into();
    let templates = Templates::new(&large, "press");
    assert!(templates.strict("{{ pod.Annotations.large }}").unwrap_err().to_string().contains("at most 4096 bytes"));
    // Signs in a text are no operators.
    let texts = r#"{{ "a*b" ~ 'c:d' ~ "{% set x %}" }}*:{{ pod.Labels.none | default("https://x:1") }}"#;
    assert_eq!(strict(texts).as_deref(), Ok("a*bc:d{% set x %}*:https://x:1"));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}
