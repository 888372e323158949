{{- define "injector.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{/* Short enough for every suffix that is put behind it. */}}
{{- define "injector.fullname" -}}
{{- $name := .Values.nameOverride | default .Chart.Name -}}
{{- $usual := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- .Values.fullnameOverride | default $usual | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "injector.selector" -}}
app.kubernetes.io/name: {{ include "injector.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: injector
{{- end -}}

{{- define "injector.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "injector.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: volume-syncing-controller
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "injector.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (ternary (include "injector.fullname" .) "default" .Values.serviceAccount.create) -}}
{{- end -}}

{{/* The image that a dict of repository, tag and digest names. */}}
{{- define "injector.imageName" -}}
{{- if .digest -}}
{{- printf "%s@%s" .repository .digest -}}
{{- else -}}
{{- printf "%s:%s" .repository .tag -}}
{{- end -}}
{{- end -}}

{{- define "injector.image" -}}
{{- if not .Values.image.repository -}}
{{- fail "image.repository is empty: name the registry and the image, for example --set image.repository=registry.example.org/volume-syncing-controller" -}}
{{- end -}}
{{- include "injector.imageName" (dict "repository" .Values.image.repository "tag" (.Values.image.tag | default .Chart.AppVersion) "digest" .Values.image.digest) -}}
{{- end -}}

{{/* What is named of the sidecar's image replaces that part of the injector's. Its digest goes: it is of that very image. */}}
{{- define "injector.sidecarImage" -}}
{{- $own := .Values.sidecar.image -}}
{{- if or $own.repository $own.tag $own.digest -}}
{{- include "injector.imageName" (dict "repository" ($own.repository | default .Values.image.repository) "tag" ($own.tag | default .Values.image.tag | default .Chart.AppVersion) "digest" $own.digest) -}}
{{- else -}}
{{- include "injector.image" . -}}
{{- end -}}
{{- end -}}

{{/* Not empty when the certificate comes by a mounted Secret, whose name it is. */}}
{{- define "injector.mountedCertificate" -}}
{{- if eq .Values.tls.mode "certManager" -}}
{{- include "injector.fullname" . }}-tls
{{- else if eq .Values.tls.mode "existingSecret" -}}
{{- required "tls.existingSecret is empty: name the Secret with tls.crt and tls.key" .Values.tls.existingSecret -}}
{{- end -}}
{{- end -}}

{{/* Variables by name, so that those of the values can replace them and the order is always the same. */}}
{{- define "injector.environment" -}}
{{- $fullname := include "injector.fullname" . -}}
{{- $env := dict
  "LOG_LEVEL" .Values.log.level
  "LOG_JSON" .Values.log.json
  "SERVE_ADDRESS" (printf "[::]:%v" (int .Values.webhook.containerPort))
  "HEALTH_ADDR" (printf "[::]:%v" (int .Values.health.port))
  "SERVICE_NAME" $fullname
  "LEASE_NAME" $fullname
  "IMAGE" (include "injector.sidecarImage" .)
  "IMAGE_PULL_POLICY" (.Values.sidecar.image.pullPolicy | default .Values.image.pullPolicy)
  "NATIVE_SIDECARS" .Values.sidecar.native
  "NATIVE_MIN_VERSION" .Values.sidecar.nativeMinVersion
  "DEFAULT_USER" (int64 .Values.sidecar.defaultUser | toString)
  "OPENSHIFT" .Values.sidecar.openshift
  "SIDECAR_METRICS_PORT" (int .Values.sidecar.metricsPort)
  "SIDECAR_PROGRESS" .Values.sidecar.progress
  "NO_MATCH" (lower .Values.webhook.noMatch)
-}}
{{- if include "injector.mountedCertificate" . -}}
{{- $env = merge $env (dict "TLS_MODE" "files" "TLS_CRT_PATH" "/etc/admission-webhook/tls/tls.crt" "TLS_KEY_PATH" "/etc/admission-webhook/tls/tls.key") -}}
{{- else -}}
{{- $env = merge $env (dict "TLS_MODE" "self" "TLS_SECRET" $fullname "WEBHOOK_CONFIGURATION" (printf "%s-mutator" $fullname)) -}}
{{- end -}}
{{- with .Values.imagePullSecrets -}}
{{- $names := list -}}
{{- range . -}}{{- $names = append $names .name -}}{{- end -}}
{{- $_ := set $env "IMAGE_PULL_SECRETS" (join "," $names) -}}
{{- end -}}
{{- with .Values.rbac.encryptionNamespaces -}}
{{- $_ := set $env "ENCRYPTION_NAMESPACES" (join "," .) -}}
{{- end -}}
{{- with .Values.sidecar.resources -}}
{{- $_ := set $env "SIDECAR_RESOURCES" (toJson .) -}}
{{- end -}}
{{- with .Values.sidecar.securityContext -}}
{{- $_ := set $env "SIDECAR_SECURITY_CONTEXT" (toJson .) -}}
{{- end -}}
{{- range $name, $value := .Values.env -}}
{{- $_ := set $env $name $value -}}
{{- end -}}
{{- toYaml $env -}}
{{- end -}}

{{/* Which Pods the API server asks about: the same for the webhook and for the policy. */}}
{{- define "injector.selects" -}}
objectSelector:
  matchLabels:
    riotkit.org/volume-syncing-controller: "true"
namespaceSelector:
  {{- if .Values.webhook.onlyLabelledNamespaces }}
  matchLabels:
    riotkit.org/volume-syncing-controller: "true"
  {{- end }}
  matchExpressions:
    - key: kubernetes.io/metadata.name
      operator: NotIn
      values:
        {{- concat (list "kube-system" "kube-public" "kube-node-lease" .Release.Namespace) (.Values.webhook.excludedNamespaces | default list) | uniq | toYaml | nindent 8 }}
{{- end -}}

{{- define "injector.matchConditions" -}}
matchConditions:
  - name: not-mirror-pod
    expression: "!has(object.metadata.annotations) || !('kubernetes.io/config.mirror' in object.metadata.annotations)"
  - name: not-windows
    expression: >-
      (!has(object.spec.os) || object.spec.os.name != 'windows') && (!has(object.spec.nodeSelector) ||
      !('kubernetes.io/os' in object.spec.nodeSelector) || object.spec.nodeSelector['kubernetes.io/os'] != 'windows')
{{- end -}}
