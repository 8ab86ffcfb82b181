// Renders a Helm chart as `helm template` does, as far as our chart needs it: Go's own templates, sprig's functions,
// include and toYaml. Helm itself is in no package repository that the tests may use.
//
//	GO111MODULE=off GOPATH=/usr/share/gocode go run ./tests/deploy/helm_template CHART_FOLDER RELEASE [VALUES_FILE]
package main

import (
	"bytes"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig"
	"gopkg.in/yaml.v3"
)

type object = map[string]interface{}

func read(path string) object {
	text, err := os.ReadFile(path)
	if err != nil {
		log.Fatal(err)
	}
	var found object
	if err := yaml.Unmarshal(text, &found); err != nil {
		log.Fatal(err)
	}
	return found
}

func merge(into, from object) object {
	for key, value := range from {
		inner, isObject := value.(object)
		known, wasObject := into[key].(object)
		if isObject && wasObject {
			into[key] = merge(known, inner)
		} else {
			into[key] = value
		}
	}
	return into
}

func main() {
	folder, release := os.Args[1], os.Args[2]
	values := read(filepath.Join(folder, "values.yaml"))
	if len(os.Args) > 3 {
		values = merge(values, read(os.Args[3]))
	}
	chart := object{}
	for key, value := range read(filepath.Join(folder, "Chart.yaml")) {
		chart[strings.ToUpper(key[:1])+key[1:]] = value
	}
	data := object{"Values": values, "Chart": chart, "Release": object{"Name": release, "Service": "Helm"}}

	all := template.New("chart").Option("missingkey=error")
	functions := sprig.TxtFuncMap()
	functions["include"] = func(name string, given interface{}) (string, error) {
		var out bytes.Buffer
		err := all.ExecuteTemplate(&out, name, given)
		return out.String(), err
	}
	functions["toYaml"] = func(value interface{}) (string, error) {
		text, err := yaml.Marshal(value)
		return strings.TrimSuffix(string(text), "\n"), err
	}
	all.Funcs(functions)
	paths, _ := filepath.Glob(filepath.Join(folder, "templates", "*"))
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			log.Fatal(err)
		}
		template.Must(all.New(filepath.Base(path)).Parse(string(text)))
	}
	for _, path := range paths {
		if !strings.HasSuffix(path, ".yaml") {
			continue
		}
		var out bytes.Buffer
		if err := all.ExecuteTemplate(&out, filepath.Base(path), data); err != nil {
			log.Fatal(err)
		}
		if strings.TrimSpace(out.String()) != "" {
			fmt.Printf("---\n%s", out.String())
		}
	}
}
