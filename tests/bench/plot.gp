# Draws what `tests/bench/run --wide` has kept, a panel for each of six loads and a bar for each device:
# gnuplot -e "table='….tsv'; picture='….png'; kernel='6.12'" plot.gp
set terminal pngcairo size 1500,720 font "sans,9" noenhanced
set output picture
set datafile separator "\t"
stats table every ::1 using 2 nooutput
rows = STATS_records
names = system("head -n 1 '".table."' | tr ' \\t' '_ '") # words, one for each column
title_of(c) = system("echo '".word(names, c)."' | tr _ ' '")
# Whose it is: the kernel's own, ours through ubd, ours through ublk.
colour(name) = name[1:4] eq "ubd " ? 0x1f77b4 : name[1:5] eq "ublk " ? 0x7fb2d9 : 0xb0b0b0
set style fill solid 0.95 noborder
set grid xtics linecolor rgb "#dddddd"
set tics scale 0
set border 1
unset key
set format x "%.0s%c"
set multiplot title "Guest instructions per I/O, Linux ".kernel.", memory disks as legs (grey: the kernel's own; blue: ours, by ubd and by ublk)"
set tmargin at screen 0.91
set bmargin at screen 0.05
left = 0.20
width = (1 - left) / 6.0
panel = 0
do for [chosen in "2 4 8 11 12 13"] {
	n = int(chosen)
	set xrange [*:*]
	set yrange [*:*]
	stats table every ::1 using n name "load" nooutput
	set yrange [rows - 0.4 : -0.6]
	third = load_max / 3
	power = 10.0 ** floor(log10(third))
	set xtics power * floor(third / power)
	set xrange [0 : load_max * 1.08]
	set lmargin at screen left + panel * width
	set rmargin at screen left + (panel + 1) * width - 0.015
	set title chosen eq "4" ? "4k randread QD32" : chosen eq "8" ? "4k randwrite QD32" : title_of(n)
	bars = "table every ::1 using (0):0:(0):(column(n)):($0 - 0.38):($0 + 0.38):(colour(strcol(1)))"
	eval "plot ".bars.(panel == 0 ? ":ytic(1)" : "")." with boxxyerror linecolor rgb variable"
	unset ytics
	panel = panel + 1
}
unset multiplot
