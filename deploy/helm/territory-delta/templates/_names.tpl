{{- define "territory-delta.name" -}}
{{ printf "%s-territory-delta" .Release.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "territory-delta.selector" -}}
app.kubernetes.io/name: territory-delta
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "territory-delta.labels" -}}
{{ include "territory-delta.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "territory-delta.workerSelector" -}}
app.kubernetes.io/name: territory-delta-worker
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}
