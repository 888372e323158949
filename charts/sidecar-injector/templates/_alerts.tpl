{{/*
Alerts by name: what each looks for, and what the values may set. THRESHOLD stands for a number.
Series of sidecars have the namespace, Pod and container of the Pod; those of the injector say themselves of whom they speak.
*/}}
{{- define "injector.alerts" -}}
VolumeNeverSynced:
  expr: max by (namespace, pod) (vsc_last_complete_sync_timestamp_seconds{container="volume-syncing-sidecar"}) == 0
  for: 30m
  severity: critical
  summary: "Nothing of {{ `{{ $labels.namespace }}/{{ $labels.pod }}` }} is known to be at the remote"
  description: The sidecar has had no complete push since it started. Its log and its termination message say why.
VolumeSyncStale:
  expr: |-
    time() - (max by (namespace, pod) (vsc_last_complete_sync_timestamp_seconds{container="volume-syncing-sidecar"}) > 0) > THRESHOLD
  for: 5m
  severity: warning
  threshold: 2700
  summary: "The remote of {{ `{{ $labels.namespace }}/{{ $labels.pod }}` }} is {{ `{{ $value | humanizeDuration }}` }} old"
  description: The threshold should be three times the longest interval of a schedule; 2700 suits the default of 15 minutes.
VolumeSyncFailing:
  expr: |-
    sum by (namespace, pod) (increase(vsc_syncs_total{direction="to_remote",result=~"partial|failed"}[1h])) >= THRESHOLD
    unless sum by (namespace, pod) (increase(vsc_syncs_total{direction="to_remote",result=~"complete|noop"}[1h])) > 0
  for: 0m
  severity: warning
  threshold: 3
  summary: "Pushes of {{ `{{ $labels.namespace }}/{{ $labels.pod }}` }} fail or leave something out, one after the other"
  description: No push was complete within the last hour. The sidecar's log names the files or the error.
VolumeDeletesHeld:
  expr: max by (namespace, pod) (vsc_deletes_held) > THRESHOLD
  for: 15m
  severity: warning
  threshold: 0
  summary: "{{ `{{ $value }}` }} deletes of {{ `{{ $labels.namespace }}/{{ $labels.pod }}` }} wait for an approval"
  description: More was deleted at once than is believed without asking. The sidecar's log says how to approve it.
VolumeSyncNotScraped:
  expr: up{container="volume-syncing-sidecar"} == 0
  for: 10m
  severity: warning
  summary: "The sidecar of {{ `{{ $labels.namespace }}/{{ $labels.pod }}` }} gives no metrics"
  description: Nothing is known of its pushes while this lasts.
VolumeLastSyncCutShort:
  expr: max by (namespace, pod) (max_over_time(vsc_final_syncs_total{result="deadline"}[15m])) > 0
  for: 0m
  severity: warning
  summary: "The last push of {{ `{{ $labels.namespace }}/{{ $labels.pod }}` }} did not get everything to the remote"
  description: >-
    The grace period was too short, or the remote did not answer. Seen here only when the sidecar was scraped between that push and
    its end; its termination message always has it.
VolumeSyncNotReady:
  expr: max(vsc_sync_objects{ready="false"}) > THRESHOLD
  for: 30m
  severity: warning
  threshold: 0
  summary: "{{ `{{ $value }}` }} PodFilesystemSyncs are not ready"
  description: Among the reasons are KeyMismatch, Failing and InvalidSchedule. `kubectl get podfilesystemsyncs -A` has each one's.
VolumePodNotInjected:
  expr: max(vsc_uninjected_pods) > THRESHOLD
  for: 5m
  severity: critical
  threshold: 0
  summary: "{{ `{{ $value }}` }} labelled Pods run without the containers that keep their data"
  description: They were made while the webhook was away or did not know them. Their Events say NotInjected; delete them, and they come back whole.
VolumeInjectorCertificateExpires:
  expr: min by (kind) (vsc_webhook_certificate_expiry_timestamp_seconds > 0) - time() < THRESHOLD
  for: 1h
  severity: critical
  threshold: 604800
  summary: "The webhook's {{ `{{ $labels.kind }}` }} certificate ends in {{ `{{ $value | humanizeDuration }}` }}"
  description: It should have been renewed long before. Afterwards no labelled Pod starts.
VolumeInjectorWithoutLeader:
  expr: sum(vsc_leader) == 0 or absent(vsc_leader)
  for: 10m
  severity: warning
  summary: "No injector leads"
  description: Certificates are not renewed, keys not made and no status is written.
VolumeInjectorErrors:
  expr: sum by (reason) (increase(vsc_admission_requests_total{result="error"}[15m])) > THRESHOLD
  for: 0m
  severity: warning
  threshold: 0
  summary: "The injector could not answer reviews of the API server: {{ `{{ $labels.reason }}` }}"
  description: The Pods concerned were refused. The injector's log says why.
{{- end -}}
