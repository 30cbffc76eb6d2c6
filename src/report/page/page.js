// Draws the pictures of the report from its data. The state is the form of the page, and its address.
"use strict";
const find = (id) => document.getElementById(id);
const { splits, runs, moments, results, queries } = JSON.parse(find("data").textContent);
const root = document.documentElement;
const { dataset } = root;
const form = find("state");
const { elements } = form;
const { stage } = elements;
const given = (name) => elements.namedItem(name)?.value;

// Elements and numbers

// Strings become text, never markup.
function make(tag, attributes, ...children) {
	const node = document.createElementNS(`http://www.w3.org/${/^(svg|g|path|text|desc)$/.test(tag) ? "2000/svg" : "1999/xhtml"}`, tag);
	for (const name in attributes) node.setAttribute(name, attributes[name]);
	node.append(...children);
	return node;
}
const path = (name, d, style = "") => make("path", { class: name, d, style });
const text = (string, x, y, name = "", style = "") => make("text", { x, y, class: name, style }, string);
const block = ([x, y, wide, high]) => `M${x} ${y}h${wide}v${high}h${-wide}z`;
const GLYPH = 6.8; // pixels, on average
const longest = (names) => GLYPH * Math.max(...names.map((name) => name.length));
const cut = (name, width) => (longest([name]) > width ? `${name.slice(0, Math.max(1, width / GLYPH - 1))}…` : name);
const thin = (names, room) => Math.ceil((names.length * (longest(names) + 6)) / room);
const clamp = (x, low, high) => Math.min(high, Math.max(low, x));
const count = (n) => [...Array(n).keys()];
const short = (label) => label.replace(/ \(.*/, "");
function fixed(x, digits = Number.isInteger(x) ? 0 : 3) {
	if (x == null) return "–";
	const string = Math.abs(x).toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
	return (x < 0 && /[1-9]/.test(string) ? "−" : "") + string;
}
const within = ([x, low, high]) => fixed(x, 3) + (low == null ? "" : ` (${fixed(low, 3)}${low < 0 ? " to " : "–"}${fixed(high, 3)})`);

// Colours also differ by the shape of their markers.
const MARKERS = "M-1 0a1 1 0 1 0 2 0a1 1 0 1 0-2 0z|M-.9-.9h1.8v1.8h-1.8z|M0-1.2l1.2 2.1h-2.4z|M0-1.3l1.3 1.3-1.3 1.3-1.3-1.3z|M0 1.2l1.2-2.1h-2.4z|M-.5-1.3h1v2.6h-1z|M-.8-1.2v2.4l2-1.2z".split("|");
const colours = new Set(Object.values(splits).map((split) => split.colour));
function dot(colour, x, y, hollow = "") {
	const d = MARKERS[[...colours.add(colour)].indexOf(colour) % MARKERS.length];
	return make("path", { class: `dot ${hollow && "hollow"}`, d, style: `--own:${colour}`, transform: `translate(${x} ${y}) scale(3.7)` });
}
function swatch({ colour, stroke }, y = 0) {
	const icon = make("svg", { width: 26, height: 12, y, "aria-hidden": true });
	if (stroke !== "dot") icon.append(path(`line ${stroke}`, stroke === "ticks" ? "M13 1v10" : "M0 6h26", `--own:${colour}`));
	if (/marked|dot$/.test(stroke)) icon.append(dot(colour, 13, 6));
	return icon;
}
const legend = (list) => list.map((entry) => make("li", {}, swatch(entry), entry.name));

// The pixel of a value on an axis.
function at({ range, log }, value, from, to) {
	const [low, high, v] = [...range, value].map((n) => (log ? Math.log10(Math.max(n, range[0])) : n));
	return +(from + clamp((v - low) / (high - low), 0, 1) * (to - from)).toFixed(1);
}

// The kinds of pictures. A stop is what can be read at one place: box, head, and rows of series, name, keys, numbers

function lines({ series, marks, mark_rows, x: linear, x_log, y }, width) {
	const x = (given("scale") === "log" && x_log) || linear;
	const left = 8 + longest(y.ticks.map((tick) => tick[1]));
	const [top, right, bottom] = [28 + 14 * mark_rows, width - 12, 168 + 14 * mark_rows];
	const X = (value) => at(x, value, left, right);
	const Y = (value) => at(y, value, bottom, top);
	const nodes = [];
	const add = nodes.push.bind(nodes);
	add(text(cut(y.label, width), 0, 12), text(x.label, (left + right) / 2, bottom + 38, "middle"), path("axis", `M${left} ${bottom + 5}H${right}`));
	for (const [value, name] of y.ticks) add(path("grid", `M${left} ${Y(value)}H${right}`), text(name, left - 6, Y(value) + 4, "end"));
	const every = thin(x.ticks.map((tick) => tick[1]), right - left);
	x.ticks.forEach(([value, name], i) => i % every || add(path("axis", `M${X(value)} ${bottom + 5}v4`), text(name, X(value), bottom + 22, "middle")));
	marks.forEach(([value, name], i) => add(path("mark", `M${X(value)} ${bottom}V${32 + 14 * i}`), text(name, clamp(X(value) - 3, 0, width - longest([name])), 28 + 14 * i, "halo")));
	series.forEach(({ colour, stroke, points }, k) => {
		const sure = points.filter((p) => p[2] != null);
		const [low, high] = [2, 3].map((end) => sure.map((p) => `${X(p[0])} ${Y(p[end])}`));
		if (sure.length) nodes.unshift(path(sure[1] ? "band" : "line", `M${[...low, ...high.reverse()].join("L")}z`, `--own:${colour}`));
		const places = points.filter((p) => p[1] != null).map((p) => [X(p[0]), Y(p[1])]);
		const [marked, ticked] = [stroke === "marked", stroke === "ticks"];
		add(path(`line ${stroke}`, places.map(([px, py], i) => (ticked ? `M${px} ${py - 5}v10` : `${i ? "L" : "M"}${px} ${py}`)).join(""), `--own:${colour}`));
		// Of a long line some points have markers.
		const each = places.length > 25 ? Math.ceil(places.length / 8) : 1;
		if (marked || (places.length === 1 && !ticked)) add(...places.filter((_, i) => (i + 5 * k) % each === 0).map((place) => dot(colour, ...place, !marked)));
	});
	const values = [...new Set(series.flatMap((s) => s.points.map((p) => p[0])))].sort((a, b) => a - b);
	const stops = values.map((value) => ({
		box: [X(value), top, 0, bottom - top],
		head: [`${short(x.label)} ${fixed(value)}`, ...marks.filter((mark) => mark[0] === value).map((mark) => mark[1])].join(", "),
		rows: series.flatMap((s) => s.points.filter((p) => p[0] === value).map((p) => [s, s.name, [s.name, value], p.slice(1)])),
	}));
	return { nodes, width, height: bottom + 44, heads: ["series", x.label, y.label], stops, across: 1 };
}

// Cells; a query's have tokens and entities; estimates are wide cells with an axis.
function cells(panel, width) {
	const { columns, rows, tokens, low, high, x: axis, y: unit, hot } = panel;
	const left = 8 + Math.min(longest(rows), 0.45 * width);
	const wide = clamp((width - left - 2) / columns.length, tokens ? 44 : 5, axis.ticks ? width : 88);
	const tall = tokens ? 44 : rows.length > 16 || axis.ticks ? 20 : clamp(wide * 0.6, 22, 38);
	const X = (j) => left + j * wide;
	const Y = (i) => 22 + i * tall;
	const [right, bottom] = [X(columns.length), Y(rows.length)];
	const label = axis.label || axis;
	const nodes = [];
	const add = nodes.push.bind(nodes);
	const names = [text(unit, 0, 12), ...rows.map((name, i) => text(cut(name, left), left - 6, Y(i) + tall / 2 + 4, "end"))];
	add(...names, text(label, (left + right) / 2, bottom + 32, "middle"));
	if (hot) add(path("hot", block([X(hot[0]), Y(0) - 2, (hot[1] - hot[0]) * wide, bottom + 4 - Y(0)])));
	const place = (value) => at(axis, value, left + 8, right - 8);
	for (const [value, name] of axis.ticks || []) add(path(value ? "grid" : "axis", `M${place(value)} ${Y(0)}V${bottom}`), text(name, place(value), bottom + 15, "middle"));
	const every = thin(columns, right - left);
	columns.forEach((name, j) => j % every || add(text(name, X(j) + wide / 2, bottom + 15, "middle")));
	const stops = rows.flatMap((row, i) => columns.map((column, j) => {
		const value = panel.cells[i][j];
		const ends = low ? [low[i][j], high[i][j]] : [];
		const [x, y, box, style] = [X(j), Y(i), [X(j) + 1, Y(i) + 1, wide - 2, tall - 2], `--t:${clamp(Math.abs(value), 0, 1)}`];
		const put = (string, down, name = "") => add(text(string, x + wide / 2, y + down, `middle ${name}`, style));
		if (axis.ticks) {
			const [from, to] = ends.map(place);
			if (ends[0] != null) add(path("line", `M${from} ${y + 10}H${to}`, `--own:${panel.colours[i]}`));
			add(dot(panel.colours[i], place(value), y + 10));
		} else if (tokens) {
			add(path("tile", block(box)), path("share", block([x + 7, y + tall - 10, (wide - 14) * value, 4])), ...panel.entities[i][j].map(([colour, hollow], k) => dot(colour, x + 10 + 11 * k, y + 9, hollow)));
			put(tokens[i][j], 27, "strong");
		} else if (value != null) {
			const sign = value < -0.005 ? "minus" : "plus";
			add(path(`cell ${sign}`, block(box), style));
			if (sign === "minus") add(path("hatch minus", `M${x + 1} ${y + 13}l12-12`, style));
			if (wide >= 32) put(fixed(value, 2), tall / 2 + 4, `value ${sign}`);
		} else if (!panel.causal) {
			add(path("none", block(box)));
			put("–", tall / 2 + 4);
		}
		return { box, head: `${short(unit)} ${row}, ${short(label)} ${column}`, rows: [[0, "value", [row, isNaN(column) ? column : column && +column], [value, ...ends]]], ...panel.say?.(i, j) };
	}));
	const edge = panel.causal ? "axis" : "edge";
	for (const n of panel.behind) add(path(edge, `M${X(n)} ${Y(0) - 2}V${bottom + 2}`));
	for (const n of panel.below) add(path(edge, `M${left} ${Y(n)}H${right}`));
	return { nodes, names, left, width: Math.max(width, right + 2), height: bottom + 38, heads: panel.heads || [unit, label, "value"], stops, across: columns.length, scroll: hot && X(hot[1]) + 9 - width };
}

// A picture in the page

const [live, tip] = [find("live"), find("tip")];
const hide = () => (tip.hidden = true);
// Thin lines: in tables alone.
const told = ({ rows }) => rows.filter(([s]) => s?.stroke !== "thin");
const spoken = (stop) => [stop.head, ...told(stop).map((row) => `${row[1]} ${within(row[3])}`)].join("; ");
const STYLES = "fill stroke stroke-width stroke-dasharray vector-effect opacity font-size font-family text-anchor".split(" ");
const near = new IntersectionObserver((entries) => entries.forEach(({ target, isIntersecting }) => target.near(isIntersecting)), { rootMargin: "100%" });
const sizes = new ResizeObserver((entries) => entries.forEach(({ target, contentRect }) => target.resize(Math.floor(contentRect.width))));

function picture(node) {
	const { of, k, run, title } = node.dataset;
	const aside = make("span", {});
	node.firstElementChild.append(aside);
	node.append(find("picture").content.cloneNode(true));
	const [, box, details] = node.children;
	const [hidden, conditions, said, headings, body] = details.querySelectorAll(".hidden, p, output, thead tr, tbody");
	let drawn, svg, cursor, frame, width, name, sorted = [], spot, isNear, isOld;

	// What is far from the screen waits, unless all are to be drawn.
	function draw(all) {
		node.hidden = given("run") && runs[run] && given("run") !== runs[run].name;
		isOld = drawn && !isNear && !all;
		if (isOld) return;
		const { checkpoint, why } = moment.at[run] || {};
		const found = of === "query" ? views[run] : results[of].figures.find((f) => `${f.run}` === run && (f.checkpoint ?? checkpoint) === checkpoint);
		const step = found?.checkpoint == null ? "" : `, step ${fixed(runs[run].checkpoints[checkpoint].step)}`;
		const panel = found && (of === "query" ? QUERY[k](found) : found.panels[k]);
		aside.textContent = step + (panel?.note || "");
		details.hidden = !panel;
		if (!width) return;
		if (!panel) return box.replaceChildren(make("p", { class: "absent" }, why || (of === "query" ? queries.missing : "No result here.")));
		drawn = panel.nodes ? panel : (panel.series ? lines : cells)(panel, width);
		details.open ||= panel.nodes;
		name = title + step;
		const focused = box.contains(document.activeElement);
		const key = results[of]?.legend || [];
		const above = 22 + 16 * key.length;
		const { width: wide, height } = drawn;
		frame = [-10, -above - 12, Math.max(wide, longest([name])) + 20, height + above + 22];
		cursor = path("cursor", "");
		const heading = make("g", { class: "heading" }, text(name, 0, -above, "strong"), ...key.flatMap((s, i) => [swatch(s, 16 * (i - key.length) - 14), text(s.name, 34, 16 * (i - key.length) - 4)]));
		svg = make("svg", { width: wide, height, viewBox: `0 0 ${wide} ${height}`, role: "img", tabindex: 0, "aria-label": name }, make("desc", {}, `From ${spoken(drawn.stops[0])} to ${spoken(drawn.stops.slice(-1)[0])}. Arrow keys read the values.`), heading, ...drawn.nodes, cursor);
		box.replaceChildren(svg);
		// Names of rows stay where their cells scroll.
		if (drawn.names && wide > width) box.prepend(make("svg", { class: "names", width: drawn.left, height, style: `margin-right:${-drawn.left}px`, "aria-hidden": true }, ...drawn.names.map((n) => n.cloneNode(true))));
		box.scrollLeft = drawn.scroll;
		if (focused) svg.focus();
		hidden.textContent = `: ${name}`;
		conditions.textContent = found.conditions;
		list();
	}
	box.resize = (now) => now !== width && draw((width = now));
	sizes.observe(box);
	box.near = (now) => {
		isNear = now;
		if (now && isOld) draw();
	};
	near.observe(box);

	// Shows what a stop says; what a key or a click chose is spoken.
	function read(index, chosen) {
		spot = clamp(index, 0, drawn.stops.length - 1);
		const stop = drawn.stops[spot];
		const [x, y, wide] = stop.box;
		cursor.setAttribute("d", block(stop.box));
		if (chosen) box.scrollLeft = clamp(box.scrollLeft, x + wide + 12 - box.clientWidth, Math.max(0, x - (drawn.left || 0) - 12));
		tip.replaceChildren(make("b", {}, stop.head), ...told(stop).map(([icon, label, keys, numbers]) => make("div", { style: `--share:${keys[2] ? numbers[0] : 0}` }, icon ? swatch(icon) : "", make("span", {}, label), make("span", {}, within(numbers)))));
		tip.hidden = false;
		const { left, top } = svg.getBoundingClientRect();
		tip.style.left = `${clamp(left + x + (wide - tip.offsetWidth) / 2, 8, innerWidth - tip.offsetWidth - 8)}px`;
		tip.style.top = `${Math.max(8, top + y - tip.offsetHeight - 6)}px`;
		if (chosen) live.textContent = spoken(stop);
	}
	box.onpointermove = box.onpointerdown = (event) => {
		if (details.hidden) return;
		const { left, top } = svg.getBoundingClientRect();
		const away = ({ box: [x, y, wide, high] }) => Math.hypot(event.clientX - left - x - wide / 2, event.clientY - top - y - high / 2);
		const nearest = drawn.stops.reduce((best, stop) => (away(stop) < away(best) ? stop : best));
		read(drawn.stops.indexOf(nearest), event.type === "pointerdown");
	};
	box.onpointerleave = ({ pointerType }) => pointerType === "mouse" && hide();
	box.onfocusout = hide;
	box.onkeydown = (event) => {
		if (event.key === "Escape") hide();
		const move = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -drawn?.across, ArrowDown: drawn?.across, Home: -1e9, End: 1e9 }[event.key];
		if (!move || details.hidden || event.altKey || event.ctrlKey || event.metaKey) return;
		event.preventDefault();
		read((spot ?? (move < 1e9 ? -move : 0)) + move, true);
	};

	// Drops empty columns.
	function table() {
		const heads = [...drawn.heads, "low", "high"];
		const rows = drawn.stops.flatMap((stop) => stop.rows.map((row) => heads.map((_, j) => [...row[2], ...row[3]][j] ?? null)));
		return [heads, ...rows].map((row) => row.filter((_, j) => rows.some((other) => (other[j] ?? "") !== "")));
	}
	function list() {
		if (!details.open) return;
		const [heads, ...rows] = table();
		const [by, sign] = sorted;
		if (sign) rows.sort(({ [by]: a }, { [by]: b }) => (a == null) - (b == null) || sign * ((a > b) - (a < b)));
		headings.replaceChildren(...heads.map((head, j) => {
			const button = make("button", { type: "button" }, head);
			button.onclick = () => {
				sorted = [j, j === by ? -sign : 1];
				list();
				headings.children[j].firstChild.focus();
			};
			return make("th", { scope: "col", "aria-sort": j !== by ? "none" : sign > 0 ? "ascending" : "descending" }, button);
		}));
		const digits = heads.map((_, j) => (rows.every(({ [j]: x }) => typeof x === "string" || Number.isInteger(x ?? 0)) ? 0 : 3));
		body.replaceChildren(...rows.map((row) => make("tr", {}, ...row.map((x, j) => make("td", {}, typeof x === "string" ? x : fixed(x, digits[j]))))));
	}
	const joined = (mark) => table().map((row) => row.map((x) => (/[",\n]/.test(x) ? `"${x.replace(/"/g, '""')}"` : x ?? "")).join(mark)).join("\n");
	function save(ending, content) {
		make("a", { href: `data:,${encodeURIComponent(content)}`, download: `${name.replace(/\W+/g, "-")}.${ending}` }).click();
	}
	details.ontoggle = list;
	const [copy, csv, image] = details.querySelectorAll("button");
	csv.onclick = () => save("csv", joined(","));
	// navigator.clipboard is closed to sandboxed frames.
	copy.onclick = () => {
		document.oncopy = (event) => event.preventDefault(event.clipboardData.setData("text", joined("\t")));
		said.textContent = document.execCommand("copy") ? "Copied" : "Not allowed";
		document.oncopy = null;
	};
	image.onclick = () => {
		const { theme } = dataset;
		dataset.theme = "light";
		const all = svg.querySelectorAll("*");
		const alone = make("svg", { viewBox: frame.join(" "), width: frame[2], height: frame[3], style: "background:#fff" }, ...svg.cloneNode(true).childNodes);
		alone.querySelectorAll("*").forEach((part, i) => part.setAttribute("style", STYLES.map((style) => `${style}:${getComputedStyle(all[i])[style]}`).join(";")));
		dataset.theme = theme;
		// The cursor.
		alone.lastChild.remove();
		save("svg", new XMLSerializer().serializeToString(alone));
	};
	return draw;
}

// The query

let moment, views, query, names, iteration;

function choose() {
	const { list, trained } = queries;
	const asked = given("query").replace(/[<>\s,]+/g, " ").trim().toLowerCase();
	const found = list.find((q) => q.words.toLowerCase() === asked);
	query = found || query || list[0];
	names = query.words.split(" ");
	find("unknown").hidden = found || !asked;
	find("asked").textContent = asked;
	find("pick").value = query.words;
	find("about").textContent = query.about;
	find("entities").replaceChildren(...legend(query.entities));
	views = runs.map((_, r) => queries.views.find((v) => list[v.query] === query && v.run === r && v.checkpoint === moment.at[r].checkpoint));
	iteration = +given("iteration");
	tell("iteration", `iteration ${iteration} of ${elements.iteration.max}${trained}`);
}
const last = (view) => Math.min(iteration, view.iterations) * view.layers;
const trace = (name) => (view) => ({
	kind: "lines", x: queries.axes.iteration, y: queries.axes[name], marks: view.marks, mark_rows: queries.mark_rows,
	series: [{ name: queries.axes[name].label, colour: "#0072b2", stroke: "marked", points: view[name].map((value, i) => [i + 1, value]) }],
});
const QUERY = {
	answer: trace("answer"),
	margin: trace("margin"),
	grid(view) {
		const { vocab } = queries;
		const grid = (of) => view.lens.map((row, p) => row.map((top, layer) => of(top, view.ranks[p][layer])));
		return {
			kind: "cells", x: "effective layer (0: embedding)", y: "position", rows: names, columns: view.lens[0].map((_, layer) => `${layer}`), below: [], hot: [last(view) - view.layers + 1, last(view) + 1],
			behind: view.behind, heads: ["position", "effective layer", "token", "probability"],
			cells: grid(([[, share]]) => share / 1000), tokens: grid(([[token]]) => vocab[token]),
			entities: grid((top, ranks) => query.entities.flatMap(({ colour }, e) => (ranks[e] <= top.length ? [[colour, ranks[e] > 1]] : []))),
			say: (p, layer) => ({
				head: `${names[p]}, effective layer ${layer}. Ranks: ${query.entities.map(({ name }, e) => `${name}: ${view.ranks[p][layer][e]}`).join(", ")}`,
				rows: view.lens[p][layer].map(([token, share]) => [query.entities.find((entity) => entity.token === token), vocab[token], [names[p], layer, vocab[token]], [share / 1000]]),
			}),
		};
	},
	attention(view) {
		const [L, n] = [view.layers, names.length];
		const labels = (many) => count(many * n).map((i) => `${Math.floor(i / n) + 1}: ${names[i % n]}`);
		const edges = (many) => count(many - 1).map((k) => (k + 1) * n);
		return {
			kind: "cells", x: "head: key position", y: "layer: query position", rows: labels(L), columns: labels(view.heads), causal: true, behind: edges(view.heads), below: edges(L),
			cells: view.attention.slice(last(view) - L, last(view)).flat().map((row) => row.map((weight) => weight && weight / 1000)),
		};
	},
};

// The state

const pictures = [...document.querySelectorAll("figure")].map(picture);
for (const list of document.querySelectorAll("[data-legend]")) list.append(...legend(results[list.dataset.legend].legend));

function tell(slider, words) {
	find(`${slider}-now`).textContent = words;
	elements[slider].setAttribute("aria-valuetext", words);
}
function render() {
	moment = moments[stage.value - 1];
	if (stage.value === stage.max) play(false);
	tell("stage", moment.label);
	root.classList.toggle("single", runs.length === 1 || given("run"));
	if (queries) choose();
	for (const draw of pictures) draw();
}
function change() {
	render();
	try {
		history.replaceState(null, "", `#${new URLSearchParams(new FormData(form))}`);
	} catch { /* sandboxed */ }
}
// A link has a state and the section that it was made in; one to a section alone keeps the state.
function follow() {
	const hash = location.hash.slice(1);
	if (hash && !hash.includes("=")) {
		elements.at.value = hash;
		change();
	} else {
		for (const [name, value] of new URLSearchParams(hash)) {
			Object.assign(elements.namedItem(name) || {}, { value });
		}
		render();
	}
	// When the pictures above it have their heights.
	setTimeout(() => find(given("at"))?.scrollIntoView(), 300);
}
let timer;
function play(on) {
	clearInterval(timer);
	timer = on && setInterval(() => change(stage.stepUp()), 1200);
	find("play").textContent = on ? "Pause" : "Play";
}
find("play").onclick = () => {
	if (!timer && stage.value === stage.max) stage.value = 1;
	play(!timer);
	render();
};
find("theme").onclick = () => { dataset.theme = getComputedStyle(root).colorScheme === "dark" ? "light" : "dark"; };
document.onchange = ({ target }) => {
	if (target.id === "pick") elements.query.value = target.value;
	change();
};
document.oninput = ({ target }) => target.type === "range" && change();
addEventListener("hashchange", follow);
addEventListener("beforeprint", () => pictures.forEach((draw) => draw(true)));
addEventListener("scroll", hide, { passive: true });
follow();
