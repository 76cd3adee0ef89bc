# Draws what `tests/bench/run --wide` has kept: gnuplot -e "table='….tsv'; picture='….png'; kernel='6.12'" plot.gp
set terminal pngcairo size 1500,900 font "sans,10" noenhanced
set output picture
set datafile separator "\t"
set style data histograms
set style histogram clustered gap 1
set style fill solid 0.9 noborder
set key outside right top
set grid ytics linecolor rgb "#dddddd"
set xtics rotate by -35 scale 0
set yrange [0:*]
set multiplot layout 2,1 title "Guest instructions per I/O, Linux ".kernel.", memory disks as legs"
set title "4 KiB"
plot for [column in "2 3 4 5 6 7 8 9 10"] table using (column(int(column))):xtic(1) title columnheader(int(column))
set title "128 KiB and 1 MiB"
plot for [column in "11 12 13 14"] table using (column(int(column))):xtic(1) title columnheader(int(column))
unset multiplot
