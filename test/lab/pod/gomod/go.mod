module labpod

go 1.24.0
